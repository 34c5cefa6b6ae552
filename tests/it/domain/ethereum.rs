//! Addresses, messages and signatures of Ethereum.

use k256::ecdsa::SigningKey;
use proptest::prelude::*;
use tidemark::domain::ethereum::{
    Address, AddressError, MessageField, MessageSignature, SignInMessage, SignatureError,
    address_of, keccak256, message_hash,
};
use tidemark::domain::time::Millis;

/// A key that signs in tests.
pub struct TestWallet(SigningKey);

impl TestWallet {
    /// The key whose secret number ends with `number`, and is the test's own.
    pub fn new(number: u8) -> TestWallet {
        let mut secret = [0x11; 32];
        secret[31] = number;
        TestWallet(SigningKey::from_slice(&secret).unwrap())
    }

    pub fn address(&self) -> Address {
        address_of(self.0.verifying_key())
    }

    /// `personal_sign`.
    pub fn sign(&self, message: &str) -> String {
        let (signature, recovery) = self.0.sign_prehash_recoverable(&message_hash(message).0);
        let scalars = signature.to_bytes();
        let hex: String = scalars.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("0x{hex}{:02x}", 27 + u8::from(recovery))
    }
}

#[test]
fn keccak_is_the_hash_of_ethereum_and_not_sha3() {
    let rows = [
        (
            "",
            "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
        ),
        (
            "hello",
            "0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8",
        ),
    ];
    for (text, hash) in rows {
        assert_eq!(keccak256(text.as_bytes()).to_string(), hash, "{text}");
    }
}

#[test]
fn addresses_are_taken_with_their_checksum_or_without_any() {
    // The examples of EIP-55.
    for text in [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
    ] {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
        let lower = text.to_ascii_lowercase();
        assert_eq!(lower.parse(), Ok(address));
        let upper = format!("0x{}", text[2..].to_ascii_uppercase());
        assert_eq!(upper.parse(), Ok(address));
    }
    let rows = [
        (
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
            AddressError::Checksum,
        ),
        (
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAec",
            AddressError::Checksum,
        ),
        (
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            AddressError::Form,
        ),
        (
            "0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            AddressError::Form,
        ),
        (
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
            AddressError::Form,
        ),
        (
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAedd",
            AddressError::Form,
        ),
        (
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeg",
            AddressError::Form,
        ),
        (
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Bé€d",
            AddressError::Form,
        ),
        ("", AddressError::Form),
        ("alice.eth", AddressError::Form),
    ];
    for (text, error) in rows {
        assert_eq!(text.parse::<Address>(), Err(error), "{text}");
    }
}

fn example() -> SignInMessage {
    SignInMessage {
        scheme: None,
        domain: "points.example".to_owned(),
        address: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
            .parse()
            .unwrap(),
        statement: Some("Link this wallet.".to_owned()),
        uri: "https://points.example".to_owned(),
        chain_id: 1,
        nonce: "32891756abcdef".to_owned(),
        issued_at: Millis(1_795_348_800_000),
        expires_at: Some(Millis(1_795_349_700_000)),
        not_before: None,
        request_id: None,
        resources: vec!["https://points.example/users/alice".to_owned()],
    }
}

const EXAMPLE: &str = "points.example wants you to sign in with your Ethereum account:
0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed

Link this wallet.

URI: https://points.example
Version: 1
Chain ID: 1
Nonce: 32891756abcdef
Issued At: 2026-11-22T12:00:00.000Z
Expiration Time: 2026-11-22T12:15:00.000Z
Resources:
- https://points.example/users/alice";

#[test]
fn a_message_is_written_in_the_form_of_eip_4361() {
    assert_eq!(example().to_string(), EXAMPLE);
    assert_eq!(EXAMPLE.parse(), Ok(example()));
    // Without a statement there are two empty lines (the grammar's two LF).
    let bare = SignInMessage {
        statement: None,
        expires_at: None,
        resources: Vec::new(),
        ..example()
    };
    let text = "points.example wants you to sign in with your Ethereum account:
0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed


URI: https://points.example
Version: 1
Chain ID: 1
Nonce: 32891756abcdef
Issued At: 2026-11-22T12:00:00.000Z";
    assert_eq!(bare.to_string(), text);
    assert_eq!(text.parse(), Ok(bare));
}

#[test]
fn what_is_no_message_is_refused_with_the_line_that_is_wrong() {
    let rows: [(&str, &str, &str); 21] = [
        (" wants you", " wants You", "line 1 "),
        ("points.example wants", " wants", "line 1 "),
        ("points.example wants", "points.example/x wants", "line 1 "),
        (
            "points.example wants",
            "1x://points.example wants",
            "line 1 ",
        ),
        ("BeAed\n", "BeAeD\n", "line 2 "),
        ("0x5aAe", "5aAe", "line 2 "),
        ("BeAed\n\n", "BeAed\n", "line 3 "),
        ("Link this", "Link\u{e9} this", "line 4 "),
        ("wallet.\n\n", "wallet.\n", "line 5 "),
        ("URI: https", "Uri: https", "line 6 "),
        ("URI: https://points.example", "URI: points", "line 6 "),
        ("URI: https://", "URI: https:// ", "line 6 "),
        ("Version: 1", "Version: 2", "line 7 "),
        ("Chain ID: 1", "Chain ID: one", "line 8 "),
        ("Chain ID: 1", "Chain ID: +1", "line 8 "),
        ("Chain ID: 1", "Chain ID: 99999999999999999999", "line 8 "),
        ("32891756abcdef", "3289175", "line 9 "),
        ("32891756abcdef", "32891756-bcdef", "line 9 "),
        ("At: 2026-11-22T", "At: 2026-11-22 at ", "line 10 "),
        ("Resources:", "resources:", "line 12 "),
        ("- https", "-https", "line 13 "),
    ];
    for (from, to, expected) in rows {
        assert!(EXAMPLE.contains(from), "{from}");
        let text = EXAMPLE.replacen(from, to, 1);
        let error = text.parse::<SignInMessage>().expect_err(to).to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    for text in [
        "",
        "\n",
        "x",
        &EXAMPLE[..120],
        &format!("{EXAMPLE}\n"),
        &"x".repeat(9_000),
    ] {
        assert!(text.parse::<SignInMessage>().is_err(), "{text}");
    }
}

#[test]
fn the_field_that_differs_is_named() {
    let rows = [
        (
            "points.example wants",
            "evil.example wants",
            MessageField::Domain,
        ),
        (
            "points.example wants",
            "http://points.example wants",
            MessageField::Scheme,
        ),
        ("Link this", "Send this", MessageField::Statement),
        ("URI: https", "URI: http", MessageField::Uri),
        ("Chain ID: 1", "Chain ID: 10", MessageField::ChainId),
        ("32891756abcdef", "32891756abcdeF", MessageField::Nonce),
        ("T12:00:00", "T12:00:01", MessageField::IssuedAt),
        ("T12:15:00", "T13:15:00", MessageField::ExpirationTime),
        ("users/alice", "users/eve", MessageField::Resources),
        (
            "\nResources",
            "\nNot Before: 2026-11-22T12:00:00.000Z\nResources",
            MessageField::NotBefore,
        ),
        (
            "\nResources",
            "\nRequest ID: 1\nResources",
            MessageField::RequestId,
        ),
    ];
    for (from, to, field) in rows {
        let found: SignInMessage = EXAMPLE.replacen(from, to, 1).parse().unwrap();
        assert_eq!(example().first_difference(&found), Some(field), "{to}");
    }
    assert_eq!(example().first_difference(&example()), None);
}

#[test]
fn a_signature_names_its_signer() {
    let wallet = TestWallet::new(7);
    // As viem 2.57 has them for the same key.
    let address = "0xbc851C042A01624435BcB885f7A2398d18dEbF3b";
    let signed = "0x0b03820d6b122b29f230110d67db13cdc1add41f2828ed781c7e02eb5ef8a3e5\
                  5f48b105068d5a5fab61d63a4d6147e311cec42e906ac5f935506609c8f3d1b31c";
    assert_eq!(wallet.address().to_string(), address);
    assert_eq!(wallet.sign("hello"), signed);
    for message in ["", "hello", EXAMPLE, "é and 日本"] {
        let text = wallet.sign(message);
        let signature: MessageSignature = text.parse().unwrap();
        assert_eq!(signature.signer(message), Ok(wallet.address()), "{message}");
        // v as 0 and 1 means the same, and so do capital digits.
        let (scalars, v) = text.split_at(130);
        let v = u8::from_str_radix(v, 16).unwrap() - 27;
        let same: MessageSignature = format!("{scalars}{v:02x}").parse().unwrap();
        assert_eq!(same, signature);
        let upper = format!("0x{}", text[2..].to_ascii_uppercase());
        assert_eq!(upper.parse(), Ok(signature));
        assert_ne!(
            signature.signer(&format!("{message} ")),
            Ok(wallet.address())
        );
    }
}

/// The order of the curve, and half of it.
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
const HALF: &str = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0";
const ABOVE_HALF: &str = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1";

#[test]
fn what_is_no_signature_is_refused() {
    let one = format!("{:064x}", 1);
    let zero = "0".repeat(64);
    let of = |r: &str, s: &str, v: &str| format!("0x{r}{s}{v}");
    let good = TestWallet::new(7).sign("hello");
    let rows = [
        ("".to_owned(), SignatureError::Form),
        (good[2..].to_owned(), SignatureError::Form),
        (format!("{}zz", &good[..130]), SignatureError::Form),
        (good[..131].to_owned(), SignatureError::Form),
        (format!("0x{}é", &good[4..]), SignatureError::Form),
        ("0x".to_owned(), SignatureError::Length(0)),
        // The short form of EIP-2098.
        (good[..130].to_owned(), SignatureError::Length(64)),
        // What a contract wallet gives.
        (format!("{good}00"), SignatureError::Length(66)),
        (of(&one, &one, "1d"), SignatureError::RecoveryId(29)),
        (of(&one, &one, "02"), SignatureError::RecoveryId(2)),
        (of(&one, &one, "25"), SignatureError::RecoveryId(37)),
        (of(&zero, &one, "1b"), SignatureError::Scalar),
        (of(&one, &zero, "1b"), SignatureError::Scalar),
        (of(ORDER, &one, "1b"), SignatureError::Scalar),
        (of(&one, ORDER, "1b"), SignatureError::Scalar),
        (of(&one, ABOVE_HALF, "1b"), SignatureError::HighS),
    ];
    for (text, error) in rows {
        assert_eq!(text.parse::<MessageSignature>(), Err(error), "{text}");
    }
    assert!(of(&one, HALF, "1b").parse::<MessageSignature>().is_ok());
    // No point of the curve has this x.
    let five = format!("{:064x}", 5);
    let signature: MessageSignature = of(&five, &one, "1b").parse().unwrap();
    assert_eq!(signature.signer("hello"), Err(SignatureError::NoKey));
}

fn messages() -> impl Strategy<Value = SignInMessage> {
    let name = "[a-zA-Z0-9._~:/?#@!$&'()*+,;=-]{0,20}";
    let uri = || proptest::string::string_regex(&format!("[a-z][a-z0-9]{{1,5}}:{name}")).unwrap();
    let time = 0i64..4_000_000_000_000;
    (
        proptest::option::of("[a-z][a-z0-9+.-]{0,5}"),
        "[a-z0-9.-]{1,20}(:[0-9]{1,5})?",
        any::<[u8; 20]>(),
        proptest::option::of("[a-zA-Z0-9., -]{1,40}"),
        uri(),
        (any::<u64>(), "[a-zA-Z0-9]{8,40}"),
        (
            time.clone(),
            proptest::option::of(time.clone()),
            proptest::option::of(time),
        ),
        proptest::option::of("[a-zA-Z0-9%@:-]{0,12}"),
        proptest::collection::vec(uri(), 0..4),
    )
        .prop_map(
            |(
                scheme,
                domain,
                address,
                statement,
                uri,
                (chain_id, nonce),
                times,
                request_id,
                resources,
            )| {
                let (issued_at, expires_at, not_before) = times;
                SignInMessage {
                    scheme,
                    domain,
                    address: Address(address),
                    statement,
                    uri,
                    chain_id,
                    nonce,
                    issued_at: Millis(issued_at),
                    expires_at: expires_at.map(Millis),
                    not_before: not_before.map(Millis),
                    request_id,
                    resources,
                }
            },
        )
}

proptest! {
    #[test]
    fn reading_what_was_written_gives_the_same_message(message in messages()) {
        prop_assert_eq!(message.to_string().parse(), Ok(message));
    }

    #[test]
    fn a_changed_byte_makes_another_message_or_none(
        message in messages(), at in any::<proptest::sample::Index>(), byte in 1u8..128,
    ) {
        let text = message.to_string();
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= byte;
        let Ok(changed) = String::from_utf8(bytes) else { return Ok(()) };
        let wallet = TestWallet::new(9);
        let signature: MessageSignature = wallet.sign(&text).parse().unwrap();
        prop_assert_ne!(signature.signer(&changed), Ok(wallet.address()));
    }

    #[test]
    fn what_is_read_at_all_is_read_without_a_panic(text in "\\PC{0,200}", cut in any::<proptest::sample::Index>()) {
        let _ = text.parse::<SignInMessage>();
        let _ = text.parse::<MessageSignature>();
        let _ = text.parse::<Address>();
        let end = cut.index(EXAMPLE.len());
        let _ = format!("{}{text}", &EXAMPLE[..end]).parse::<SignInMessage>();
    }
}
