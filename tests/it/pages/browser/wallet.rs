//! A wallet is linked with an extension, which is the test's own and signs by a key of its own.

use serde_json::json;

use super::driver::{Driver, Look, needs_browser};
use super::{Up, until};
use crate::domain::ethereum::TestWallet;

/// Announces a wallet as extensions do (EIP-6963). What it is to sign waits in `window.toSign` until
/// the test answers.
pub(super) const ANNOUNCE: &str = "
    const [address] = arguments;
    const provider = { request: ({ method, params }) => {
        if (method === 'eth_requestAccounts') return Promise.resolve([address]);
        if (method !== 'personal_sign') return Promise.reject(new Error('unknown method ' + method));
        return new Promise((resolve, reject) => { window.toSign = { params, resolve, reject }; });
    } };
    const detail = Object.freeze({ info: { uuid: '1', name: 'Test wallet', icon: '', rdns: 'test' }, provider });
    window.dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail }));
";

#[tokio::test]
#[ignore = "needs a browser: .ci/run tools"]
async fn a_wallet_extension_links_and_what_it_declines_is_said() {
    needs_browser();
    let up = Up::start_with_origin(&["--demo"]).await;
    let driver = Driver::start().await;
    let browser = driver.browser(Look::DESK).await;
    browser
        .signs_in(&up.url("/signin"), &up.key("account:user:ann"))
        .await;
    let wallet = TestWallet::new(3);
    let address = wallet.address().to_string();
    let lower = address.to_ascii_lowercase();

    browser.open(&up.url("/users/ann/wallet")).await;
    browser.sees("No wallet is linked.").await;
    browser.run(ANNOUNCE, vec![json!(lower)]).await;
    browser.press("Use my wallet extension: Test wallet").await;
    browser.sees("Sign this message").await;
    assert!(browser.text_of("#wallet-message").await.contains(&address));

    browser.run(ANNOUNCE, vec![json!(lower)]).await;
    let sign = "Sign with my wallet extension: Test wallet";
    browser.press(sign).await;
    to_sign(&browser).await;
    browser
        .run(
            "window.toSign.reject({ code: 4001, message: 'no' })",
            vec![],
        )
        .await;
    browser
        .sees("You declined in the wallet. Nothing was sent.")
        .await;
    browser.run("delete window.toSign", vec![]).await;
    browser.press(sign).await;
    let (message, signer) = to_sign(&browser).await;
    assert_eq!(signer, address);
    assert!(
        message.starts_with(&up.url("").replace("http://", "")),
        "{message}"
    );
    let signature = wallet.sign(&message);
    browser
        .run(
            "window.toSign.resolve(arguments[0])",
            vec![json!(signature)],
        )
        .await;
    browser.sees("This wallet is linked.").await;
    assert_eq!(browser.text_of("#wallet-address").await, address);
    browser.keep("wallet-linked").await;
    assert_eq!(browser.fetched_elsewhere().await, json!([]));
}

/// The text and the address that the extension was given to sign with.
pub(super) async fn to_sign(browser: &super::driver::Browser) -> (String, String) {
    let params = until("the extension is asked to sign", async || {
        let asked = browser
            .run("return window.toSign?.params ?? null", vec![])
            .await;
        Some(asked).filter(|asked| !asked.is_null())
    })
    .await;
    let hex = params[0]
        .as_str()
        .unwrap()
        .trim_start_matches("0x")
        .to_owned();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let signer = params[1].as_str().unwrap().to_owned();
    (String::from_utf8(bytes).unwrap(), signer)
}
