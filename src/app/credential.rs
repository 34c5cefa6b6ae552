//! What others read of a badge: the metadata of ERC-721, and credentials of Open Badges 3.0 as
//! signed JWTs (VC-JWT). Pure: the same grant, rules and issuer give the same JSON.
//!
//! None of it names the account, but the credential, which its earner alone is given: there the
//! account is a salted hash, by which whoever knows the id can check whose badge it is.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::app::queries::{BadgeAddress, BadgeWithGrant, PublicKey, words_of};
use crate::domain::badges::{Badge, Picture};
use crate::domain::ids::Account;
use crate::domain::time::Millis;
use crate::store::badges::{Grant, SigningKey};

/// Where the service is reached: `https://points.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(pub String);

/// Bits of a status list: the least that the specification allows, so that a list says nothing by
/// its length.
const STATUS_BITS: usize = 131_072;
const CONTEXT_CREDENTIAL: &str = "https://www.w3.org/ns/credentials/v2";
const CONTEXT_BADGE: &str = "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json";

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Issuer {
    /// The address of the issuer's profile, by which credentials name it.
    pub fn id(&self) -> String {
        format!("{self}/badges/issuer")
    }

    fn name(&self) -> &str {
        self.0.split_once("://").map_or(&*self.0, |(_, host)| host)
    }

    /// The issuer's profile.
    pub fn profile(&self) -> Value {
        json!({
            "@context": [CONTEXT_CREDENTIAL, CONTEXT_BADGE],
            "id": self.id(),
            "type": ["Profile"],
            "name": self.name(),
            "url": self.0,
        })
    }

    fn short_profile(&self) -> Value {
        json!({"id": self.id(), "type": ["Profile"], "name": self.name(), "url": self.0})
    }

    fn grant(&self, address: BadgeAddress) -> String {
        format!("{self}/badges/{address}")
    }

    fn picture(&self, badge: &Badge, address: BadgeAddress) -> String {
        match &badge.picture {
            Picture::Url(url) => url.clone(),
            Picture::Svg(_) => format!("{}/picture", self.grant(address)),
        }
    }

    /// The address of a key, by which tokens name it.
    pub fn key(&self, id: &str) -> String {
        format!("{self}/badges/keys/{id}")
    }

    /// A public key as a JSON Web Key.
    pub fn web_key(&self, key: &PublicKey) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": key.x, "alg": "EdDSA", "use": "sig",
            "kid": self.key(&key.id)})
    }

    /// The metadata of ERC-721: what a token's `tokenURI` leads to.
    pub fn metadata(&self, shown: &BadgeWithGrant) -> Value {
        let BadgeWithGrant { badge, grant } = shown;
        let trait_of = |name: &str, value: Value| json!({"trait_type": name, "value": value});
        let granted = json!({"trait_type": "granted", "display_type": "date",
            "value": seconds(grant.granted_at)});
        let mut attributes = vec![
            trait_of("badge", badge.id.as_str().into()),
            trait_of("for", badge.criterion.to_string().into()),
            granted,
        ];
        if grant.revoked.is_some() {
            attributes.push(trait_of("status", "revoked".into()));
        }
        json!({
            "name": badge.name,
            "description": badge.description,
            "image": self.picture(badge, grant.address),
            "external_url": self.grant(grant.address),
            "attributes": attributes,
        })
    }

    /// What a badge is for: the achievement of Open Badges 3.0.
    pub fn achievement(&self, badge: &Badge) -> Value {
        let mut achievement = json!({
            "id": format!("{self}/badges/achievements/{}", badge.id),
            "type": ["Achievement"],
            "name": badge.name,
            "description": badge.description,
            "criteria": {"narrative": format!("For {}.", badge.criterion)},
        });
        if let Picture::Url(url) = &badge.picture {
            achievement["image"] = json!({"id": url, "type": "Image"});
        }
        achievement
    }

    /// The credential of a badge, as a signed JWT.
    pub fn credential(&self, shown: &BadgeWithGrant, key: &SigningKey) -> String {
        self.sign(self.credential_claims(shown), key)
    }

    /// What a credential says.
    pub fn credential_claims(&self, shown: &BadgeWithGrant) -> Map<String, Value> {
        let BadgeWithGrant { badge, grant } = shown;
        let id = self.grant(grant.address);
        let status = format!("{id}/status");
        let mut achievement = self.achievement(badge);
        let picture = self.picture(badge, grant.address);
        achievement["image"] = json!({"id": picture, "type": "Image"});
        let claims = json!({
            "@context": [CONTEXT_CREDENTIAL, CONTEXT_BADGE],
            "id": id,
            "type": ["VerifiableCredential", "OpenBadgeCredential"],
            "issuer": self.short_profile(),
            "validFrom": grant.granted_at.to_string(),
            "name": badge.name,
            "credentialSubject": {
                "type": ["AchievementSubject"],
                "identifier": [hashed_account(&grant.account, grant.address)],
                "achievement": achievement,
            },
            "evidence": [{"type": ["Evidence"], "narrative": words_of(&grant.evidence)}],
            "credentialStatus": {
                "id": format!("{status}#0"),
                "type": "BitstringStatusListEntry",
                "statusPurpose": "revocation",
                "statusListIndex": "0",
                "statusListCredential": status,
            },
        });
        self.claimed(claims, &id, grant.granted_at)
    }

    /// Whether a badge was taken back, as a signed status list of its own. The list of one says no
    /// more than its address does, which whoever asks for it was given.
    ///
    /// It is valid since what it says has been so, not since it is asked for: verifiers whose clock
    /// is behind would refuse it.
    pub fn status(&self, grant: &Grant, key: &SigningKey) -> String {
        let since = grant.revoked.as_ref().map(|revoked| revoked.at);
        let since = since.unwrap_or(grant.granted_at);
        let id = format!("{}/status", self.grant(grant.address));
        let claims = json!({
            "@context": [CONTEXT_CREDENTIAL],
            "id": id,
            "type": ["VerifiableCredential", "BitstringStatusListCredential"],
            "issuer": self.short_profile(),
            "validFrom": since.to_string(),
            "credentialSubject": {
                "id": format!("{id}#list"),
                "type": "BitstringStatusList",
                "statusPurpose": "revocation",
                "encodedList": encoded_list(grant.revoked.is_some()),
            },
        });
        let mut claims = self.claimed(claims, &id, since);
        claims.insert("sub".to_owned(), format!("{id}#list").into());
        self.sign(claims, key)
    }

    /// With the registered claims of a JWT.
    fn claimed(&self, claims: Value, id: &str, from: Millis) -> Map<String, Value> {
        let mut claims = match claims {
            Value::Object(claims) => claims,
            _ => Map::new(),
        };
        claims.insert("iss".to_owned(), self.id().into());
        claims.insert("jti".to_owned(), id.into());
        claims.insert("nbf".to_owned(), seconds(from).into());
        claims
    }

    fn sign(&self, claims: Map<String, Value>, key: &SigningKey) -> String {
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.key(&key.id)});
        let part = |value: &Value| BASE64.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&Value::Object(claims)));
        let signature = BASE64.encode(key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn seconds(at: Millis) -> i64 {
    at.0.div_euclid(1_000)
}

/// The account as Open Badges 3.0 hides it.
fn hashed_account(account: &Account, address: BadgeAddress) -> Value {
    // Anything that is not the same for two badges; a salt is no secret.
    let salt = address.to_string();
    let hash = digest(&SHA256, format!("{account}{salt}").as_bytes());
    let hash = base16ct::lower::encode_string(hash.as_ref());
    json!({
        "type": "IdentityObject",
        "hashed": true,
        "identityHash": format!("sha256${hash}"),
        "identityType": "accountId",
        "salt": salt,
    })
}

/// A list of bits, the first of which is set if the badge was taken back.
fn encoded_list(is_revoked: bool) -> String {
    use std::io::Write as _;
    let mut bits = vec![0_u8; STATUS_BITS / 8];
    if is_revoked {
        bits[0] = 0x80;
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    let written = packed.write_all(&bits).and_then(|()| packed.finish());
    // A vector takes whatever is written.
    format!("u{}", BASE64.encode(written.unwrap_or_default()))
}
