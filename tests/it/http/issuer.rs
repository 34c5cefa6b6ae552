//! An issuer of tokens on loopback, and what signs its tokens.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};
use tidemark::ops::config::{Config, HttpConfig, JwtConfig};
use tokio::net::TcpListener;

use super::stand::Stand;

/// What `iss` of its tokens is.
pub const ISSUER: &str = "https://login.example";
/// What `aud` of its tokens is.
pub const AUDIENCE: &str = "tidemark";

/// Made for these tests alone; signs nothing else.
const RSA: &[u8] = include_bytes!("fixtures/rsa-for-tests-only.pk8");

/// The signature of a message.
pub type Sign = dyn Fn(&[u8]) -> Vec<u8>;

/// Something that signs, with the name of its algorithm and of its key.
pub struct Signer {
    pub algorithm: &'static str,
    pub key_id: &'static str,
    pub sign: Box<Sign>,
}

impl Signer {
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"});
        self.signed(&header, claims)
    }

    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = BASE64.encode((self.sign)(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

pub fn ed25519(key_id: &'static str) -> (Signer, Value) {
    let random = SystemRandom::new();
    let pair = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
    let x = BASE64.encode(pair.public_key().as_ref());
    let signer = Signer {
        algorithm: "EdDSA",
        key_id,
        sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
    };
    let public = json!({"kty": "OKP", "crv": "Ed25519", "kid": key_id, "use": "sig", "alg": "EdDSA", "x": x});
    (signer, public)
}

pub fn ecdsa(algorithm: &'static str, key_id: &'static str) -> (Signer, Value) {
    let random = SystemRandom::new();
    let (with, curve) = match algorithm {
        "ES256" => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
        _ => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
    };
    let pair = EcdsaKeyPair::generate_pkcs8(with, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(with, pair.as_ref(), &random).unwrap();
    let (x, y) =
        pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
    let (x, y) = (BASE64.encode(x), BASE64.encode(y));
    let signer = Signer {
        algorithm,
        key_id,
        sign: Box::new(move |message| pair.sign(&random, message).unwrap().as_ref().to_vec()),
    };
    let public = json!({"kty": "EC", "crv": curve, "kid": key_id, "x": x, "y": y});
    (signer, public)
}

pub fn rsa(algorithm: &'static str, with: &'static dyn RsaEncoding) -> (Signer, Value) {
    let pair = RsaKeyPair::from_pkcs8(RSA).unwrap();
    let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
    let (n, e) = (BASE64.encode(public.n), BASE64.encode(public.e));
    let signer = Signer {
        algorithm,
        key_id: "rsa",
        sign: Box::new(move |message| {
            let mut signature = vec![0; pair.public().modulus_len()];
            let random = SystemRandom::new();
            pair.sign(with, &random, message, &mut signature).unwrap();
            signature
        }),
    };
    (
        signer,
        json!({"kty": "RSA", "kid": "rsa", "use": "sig", "n": n, "e": e}),
    )
}

/// An issuer that publishes keys.
pub struct Issuer {
    pub published: Arc<Mutex<(StatusCode, String)>>,
    pub asked: Arc<AtomicU32>,
    pub url: String,
}

impl Issuer {
    pub async fn new(keys: &[Value]) -> Issuer {
        let published = Arc::new(Mutex::new((StatusCode::OK, String::new())));
        let asked = Arc::new(AtomicU32::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let (shown, counted) = (published.clone(), asked.clone());
        let answer = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = shown.lock().unwrap().clone();
            async move { answer }
        };
        let router = Router::new().route("/jwks", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let issuer = Issuer {
            published,
            asked,
            url,
        };
        issuer.publish(keys);
        issuer
    }

    pub fn publish(&self, keys: &[Value]) {
        let text = json!({ "keys": keys }).to_string();
        *self.published.lock().unwrap() = (StatusCode::OK, text);
    }

    pub fn answer(&self, status: StatusCode, text: &str) {
        *self.published.lock().unwrap() = (status, text.to_owned());
    }

    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    pub async fn stand(&self) -> Stand {
        stand(JwtConfig {
            jwks_url: self.url.clone(),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            user_claim: Some("sub".to_owned()),
            provider_claim: Some("provider_id".to_owned()),
        })
        .await
    }
}

pub async fn stand(jwt: JwtConfig) -> Stand {
    Stand::with(HttpConfig {
        jwt: Some(jwt),
        ..Config::default().http
    })
    .await
}
