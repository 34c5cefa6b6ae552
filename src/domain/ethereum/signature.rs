//! Signatures of messages (EIP-191), and the address that made them.

use std::str::FromStr;

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

use super::address::Address;
use super::keccak::{Hash, keccak256};

/// r, s and v.
const SIGNATURE_BYTES: usize = 65;

/// A signature of a message: `0x` and 130 hex digits, which are r, s and v.
///
/// There is one text per signature and message, apart from the case of its digits and the two ways
/// to write v: s is at most half of the curve's order (EIP-2), as in transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageSignature {
    signature: Signature,
    recovery: RecoveryId,
}

/// Why a text is no signature, or fits no message. Signing again may help; retrying does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not `0x` and hex digits.
    #[error(
        "a signature is 0x followed by 130 hexadecimal digits; copy the whole signature from the wallet"
    )]
    Form,
    /// Another number of bytes.
    #[error(
        "the signature is {0} bytes long instead of 65; copy the whole signature from the wallet. Signatures of contract wallets (EIP-1271), such as Safe, are not supported: link the address of a key"
    )]
    Length(usize),
    /// v is none of the four values.
    #[error("the signature ends with v = {0}; allowed are 27 and 28, or 0 and 1")]
    RecoveryId(u8),
    /// r or s is 0, or not below the order of the curve.
    #[error("r or s of the signature is outside of the curve's order; sign the message again")]
    Scalar,
    /// s is in the upper half, so that it is the twin of another signature.
    #[error(
        "s of the signature is above half of the curve's order (EIP-2), which wallets never sign; sign the message again"
    )]
    HighS,
    /// No key signs so.
    #[error("no key can have made this signature of this message; sign the message again")]
    NoKey,
}

impl FromStr for MessageSignature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<MessageSignature, SignatureError> {
        let digits = text.strip_prefix("0x").ok_or(SignatureError::Form)?;
        let bytes = base16ct::mixed::decode_vec(digits).map_err(|_| SignatureError::Form)?;
        let wrong_length = |bytes: Vec<u8>| SignatureError::Length(bytes.len());
        let bytes: [u8; SIGNATURE_BYTES] = bytes.try_into().map_err(wrong_length)?;
        let [scalars @ .., v] = bytes;
        let is_y_odd = match v {
            0 | 27 => false,
            1 | 28 => true,
            other => return Err(SignatureError::RecoveryId(other)),
        };
        let signature = Signature::from_slice(&scalars).map_err(|_| SignatureError::Scalar)?;
        if signature.normalize_s() != signature {
            return Err(SignatureError::HighS);
        }
        Ok(MessageSignature {
            signature,
            recovery: RecoveryId::new(is_y_odd, false),
        })
    }
}

impl MessageSignature {
    /// The address whose key signed this text.
    pub fn signer(&self, message: &str) -> Result<Address, SignatureError> {
        let hash = message_hash(message);
        let key = VerifyingKey::recover_from_prehash(&hash.0, &self.signature, self.recovery);
        let key = key.map_err(|_| SignatureError::NoKey)?;
        Ok(address_of(&key))
    }
}

/// What is signed of a text: a hash that is none of a transaction (EIP-191, version 0x45).
pub fn message_hash(message: &str) -> Hash {
    let mut bytes = format!("\u{19}Ethereum Signed Message:\n{}", message.len()).into_bytes();
    bytes.extend_from_slice(message.as_bytes());
    keccak256(&bytes)
}

/// The address of a key: the last 20 bytes of the hash of its point.
pub fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_sec1_point(false);
    // The first byte says that the point is not compressed.
    let Hash(hash) = keccak256(&point.as_bytes()[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    Address(address)
}
