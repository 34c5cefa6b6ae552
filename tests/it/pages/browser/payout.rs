//! A month from its close to the contracts: two accounts link wallets, an admin closes, both download their proofs and are paid on an
//! Ethereum virtual machine.
//!
//! Needs npm packages beside the browser: `tests/servers/evm fetch`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::driver::{Browser, Driver, Look, needs_browser};
use super::wallet::{ANNOUNCE, to_sign};
use super::{Up, until};
use crate::claims::evm::{needs_evm, script};
use crate::domain::closing::{provider, user};
use crate::domain::ethereum::TestWallet;
use crate::process::earned::{closable, earned, wait_final};

/// What a contract is asked that it must not pay.
const REFUSED: [&str; 5] = [
    "a third party with the proof of another",
    "a larger amount",
    "the proof of another",
    "a second try",
    "a second try by somebody else",
];

/// Links a wallet with its extension.
async fn link_by_extension(browser: &Browser, page: &str, wallet: &TestWallet) {
    let address = wallet.address().to_string();
    let announced = vec![json!(address.to_ascii_lowercase())];
    browser.open(page).await;
    browser.sees("No wallet is linked.").await;
    browser.run(ANNOUNCE, announced.clone()).await;
    browser.press("Use my wallet extension: Test wallet").await;
    browser.sees("Sign this message").await;
    browser.run(ANNOUNCE, announced).await;
    browser
        .press("Sign with my wallet extension: Test wallet")
        .await;
    let (message, signer) = to_sign(browser).await;
    assert_eq!(signer, address);
    let signature = vec![json!(wallet.sign(&message))];
    browser
        .run("window.toSign.resolve(arguments[0])", signature)
        .await;
    browser.sees("This wallet is linked.").await;
    assert_eq!(browser.text_of("#wallet-address").await, address);
}

/// Links a wallet that signs elsewhere.
async fn link_by_pasting(browser: &Browser, page: &str, wallet: &TestWallet) {
    let address = wallet.address().to_string();
    browser.open(page).await;
    browser.type_into("#address", &address).await;
    browser.press("Continue").await;
    browser.sees("Sign this message").await;
    // As the page holds it: a browser shows no more than that.
    let read = "return document.querySelector('#wallet-message').textContent";
    let message = browser.run(read, vec![]).await;
    let message = message.as_str().expect("a text");
    // A signature of anything else is refused, and the page says why.
    browser
        .type_into("#signature", &wallet.sign("something else"))
        .await;
    browser.press("Link this wallet").await;
    until("it is refused", async || {
        browser.has("[role=alert], .note.bad").await.then_some(())
    })
    .await;
    browser.open(page).await;
    browser.sees("No wallet is linked.").await;
    browser.type_into("#address", &address).await;
    browser.press("Continue").await;
    browser.sees("Sign this message").await;
    let anew = browser.run(read, vec![]).await;
    let anew = anew.as_str().expect("a text");
    assert_ne!(anew, message, "each message has a number of its own");
    browser.type_into("#signature", &wallet.sign(anew)).await;
    browser.press("Link this wallet").await;
    browser.sees("This wallet is linked.").await;
    assert_eq!(browser.text_of("#wallet-address").await, address);
}

/// Downloads the proofs of an account by its page.
async fn download_proofs(browser: &Browser, page: &str, directory: &Path) -> (PathBuf, Value) {
    browser.open(page).await;
    browser.sees("Claimable").await;
    browser.click("a[href$='/claims/proofs']").await;
    let path = directory.join("claims.json");
    let found = until("the proofs are there", async || {
        let text = std::fs::read_to_string(&path).ok()?;
        serde_json::from_str::<Value>(&text).ok()
    })
    .await;
    (path, found)
}

#[tokio::test]
#[ignore = "needs a browser and evm: .ci/run tools"]
async fn a_month_is_closed_on_a_page_and_contracts_pay_two_accounts_once() {
    needs_browser();
    needs_evm();
    let up = Up::start_with_origin(&[]).await;
    let month = closable();
    let earners = [
        (user("ann"), 30, None),
        (provider("mill"), 90, None),
        (user("zoe"), 40, None),
    ];
    earned(&up.site.data(), month, &earners).await;
    let driver = Driver::start().await;
    let downloads = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let ann = driver.browser_into(Look::DESK, downloads[0].path()).await;
    let mill = driver.browser_into(Look::DESK, downloads[1].path()).await;
    for (browser, who) in [(&ann, "user:ann"), (&mill, "provider:mill")] {
        let key = up.key(&format!("account:{who}"));
        browser.signs_in(&up.url("/signin"), &key).await;
    }
    let (first, second) = (TestWallet::new(3), TestWallet::new(4));
    link_by_extension(&ann, &up.url("/users/ann/wallet"), &first).await;
    link_by_pasting(&mill, &up.url("/providers/mill/wallet"), &second).await;

    wait_final(&up.site, month);
    let month = month.to_string();
    let admin = driver.browser(Look::DESK).await;
    admin
        .signs_in(&up.url("/signin"), &up.key("admin:write"))
        .await;
    admin.open(&up.url("/admin/closes")).await;
    admin.sees("No month was closed yet.").await;
    let choose = "document.querySelector('[name=month]').value = arguments[0]";
    admin.run(choose, vec![json!(month)]).await;
    admin.type_into("#amount", "1600").await;
    admin.type_into("#decimals", "18").await;
    admin.press("Preview").await;
    admin.sees(&format!("Close {month}?")).await;
    admin.sees("Accounts without a wallet").await;
    assert_eq!(admin.barriers().await, Vec::<String>::new());
    admin.keep("close-preview").await;
    // Browsers hold back a month that was not typed exactly.
    admin.type_into("#typed", "2000-01").await;
    admin.press(&format!("Close {month}")).await;
    assert_eq!(admin.path().await, "/admin/closes/preview");
    assert_eq!(up.site.run(&["close", "--json"]).trim(), "[]");
    admin.type_into("#typed", &month).await;
    admin.press(&format!("Close {month}")).await;
    admin.sees(&format!("{month} is closed.")).await;
    admin.keep("closed").await;

    let claims = up.url("/users/ann/claims");
    let (of_ann, ann_found) = download_proofs(&ann, &claims, downloads[0].path()).await;
    ann.keep("claims").await;
    assert_eq!(ann.barriers().await, Vec::<String>::new());
    assert_eq!(ann.fetched_elsewhere().await, json!([]));
    let claims = up.url("/providers/mill/claims");
    let (of_mill, mill_found) = download_proofs(&mill, &claims, downloads[1].path()).await;
    // Whoever has no wallet sees that, and nothing to download.
    let zoe = driver.browser(Look::DESK).await;
    let key = up.key("account:user:zoe");
    zoe.signs_in(&up.url("/signin"), &key).await;
    zoe.open(&up.url("/users/zoe/claims")).await;
    zoe.sees("No wallet linked: paid in a later close").await;
    assert!(!zoe.has("a[href$='/claims/proofs']").await);

    // What goes on chain comes from the public file, without a key.
    let folder = tempfile::tempdir().expect("a directory");
    let path = format!("/api/closes/{month}/close.json");
    let mut close = ureq::get(up.url(&path)).call().expect("an answer");
    let close = close.body_mut().read_to_string().expect("a file");
    std::fs::write(folder.path().join("close.json"), close).expect("a file");
    let ran = Command::new(script())
        .arg("story")
        .args([folder.path(), &of_ann, &of_mill])
        .output()
        .expect("the script runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    let told: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    for form in ["openzeppelin", "uniswap", "cumulative"] {
        let told = &told[form];
        for (wallet, found) in [(&first, &ann_found), (&second, &mill_found)] {
            let address = wallet.address().to_string();
            let paid = &found["closes"][0]["paid"];
            assert_eq!(found["closes"][0]["address"], json!(address));
            assert_eq!(&told["paid"][&address], paid, "{form}: {told}");
        }
        // Both together are all that was paid; nobody else got anything.
        assert_eq!(
            (&told["left"], &told["stranger"]),
            (&json!("0"), &json!("0"))
        );
        assert_eq!(told["refused"], json!(REFUSED), "{form}");
    }
}
