//! Messages with which the owner of an address agrees to something (EIP-4361, "Sign-In with
//! Ethereum").
//!
//! Wallets recognise this form: they show its fields, and warn when its domain is not the one of
//! the page that asks. What is accepted is decided by comparing a text with the one that was
//! issued, byte for byte, so no difference between two parsers can matter. A text is parsed only to
//! find its nonce and to name the field in which it differs.

use std::fmt;
use std::str::FromStr;

use super::address::{Address, AddressError};
use crate::domain::time::Millis;

/// Longest text that is parsed.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Fewest characters of a nonce (EIP-4361).
const NONCE_CHARS_MIN: usize = 8;
const ASKS: &str = " wants you to sign in with your Ethereum account:";

/// A message (EIP-4361, version 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInMessage {
    /// The scheme before the domain; wallets take `https` where there is none.
    pub scheme: Option<String>,
    /// Host and port of the service that asks.
    pub domain: String,
    /// Who signs.
    pub address: Address,
    /// What is agreed to, for people.
    pub statement: Option<String>,
    /// What the signature is for.
    pub uri: String,
    /// The chain to which the session is bound (EIP-155).
    pub chain_id: u64,
    /// Random, at least 8 letters and digits.
    pub nonce: String,
    /// When it was issued.
    pub issued_at: Millis,
    /// Until when it can be used.
    pub expires_at: Option<Millis>,
    /// From when on it can be used.
    pub not_before: Option<Millis>,
    /// A name that the service gave the request.
    pub request_id: Option<String>,
    /// URIs of what it is about.
    pub resources: Vec<String>,
}

/// A field of a message, by its name in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageField {
    /// What stands before the domain.
    Scheme,
    /// The first line.
    Domain,
    /// The second line.
    Address,
    /// What is agreed to.
    Statement,
    /// `URI`.
    Uri,
    /// `Chain ID`.
    ChainId,
    /// `Nonce`.
    Nonce,
    /// `Issued At`.
    IssuedAt,
    /// `Expiration Time`.
    ExpirationTime,
    /// `Not Before`.
    NotBefore,
    /// `Request ID`.
    RequestId,
    /// `Resources`.
    Resources,
}

impl MessageField {
    /// Its name in the text.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageField::Scheme => "scheme",
            MessageField::Domain => "domain",
            MessageField::Address => "address",
            MessageField::Statement => "statement",
            MessageField::Uri => "URI",
            MessageField::ChainId => "Chain ID",
            MessageField::Nonce => "Nonce",
            MessageField::IssuedAt => "Issued At",
            MessageField::ExpirationTime => "Expiration Time",
            MessageField::NotBefore => "Not Before",
            MessageField::RequestId => "Request ID",
            MessageField::Resources => "Resources",
        }
    }
}

impl fmt::Display for MessageField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no message. Another text may be one; retrying is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is longer than any message that is issued here.
    #[error("the message has {0} bytes; at most {MESSAGE_BYTES_MAX} are read")]
    TooLong(usize),
    /// A line is not what EIP-4361 has there.
    #[error(
        "the message is not in the form of EIP-4361: line {line} must be {expected}; sign the text exactly as it was issued"
    )]
    Line {
        /// Which, from 1.
        line: usize,
        /// What stands there in a message.
        expected: &'static str,
    },
    /// Its second line is no address.
    #[error("line 2 of the message: {0}")]
    Address(AddressError),
}

impl SignInMessage {
    /// The first field in which `other` is different.
    pub fn first_difference(&self, other: &SignInMessage) -> Option<MessageField> {
        use MessageField as F;
        let fields = [
            (F::Scheme, self.scheme == other.scheme),
            (F::Domain, self.domain == other.domain),
            (F::Address, self.address == other.address),
            (F::Statement, self.statement == other.statement),
            (F::Uri, self.uri == other.uri),
            (F::ChainId, self.chain_id == other.chain_id),
            (F::Nonce, self.nonce == other.nonce),
            (F::IssuedAt, self.issued_at == other.issued_at),
            (F::ExpirationTime, self.expires_at == other.expires_at),
            (F::NotBefore, self.not_before == other.not_before),
            (F::RequestId, self.request_id == other.request_id),
            (F::Resources, self.resources == other.resources),
        ];
        let differs = fields.into_iter().find(|(_, is_same)| !is_same);
        differs.map(|(field, _)| field)
    }
}

impl fmt::Display for SignInMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        write!(f, "{}{ASKS}\n{}\n\n", self.domain, self.address)?;
        if let Some(statement) = &self.statement {
            writeln!(f, "{statement}")?;
        }
        write!(f, "\nURI: {}\nVersion: 1\n", self.uri)?;
        write!(f, "Chain ID: {}\nNonce: {}\n", self.chain_id, self.nonce)?;
        write!(f, "Issued At: {}", self.issued_at)?;
        if let Some(at) = self.expires_at {
            write!(f, "\nExpiration Time: {at}")?;
        }
        if let Some(at) = self.not_before {
            write!(f, "\nNot Before: {at}")?;
        }
        if let Some(id) = &self.request_id {
            write!(f, "\nRequest ID: {id}")?;
        }
        if !self.resources.is_empty() {
            f.write_str("\nResources:")?;
            for resource in &self.resources {
                write!(f, "\n- {resource}")?;
            }
        }
        Ok(())
    }
}

/// `unreserved` and `reserved` of RFC 3986.
fn is_uri_punctuation(c: char) -> bool {
    "-._~:/?#[]@!$&'()*+,;=".contains(c)
}

fn is_uri_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || is_uri_punctuation(c) || c == '%'
}

fn is_statement_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || is_uri_punctuation(c) || c == ' '
}

/// `pchar` of RFC 3986.
fn is_path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:@".contains(c)
}

fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(is_scheme) && text.chars().all(is_uri_char)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| is_uri_char(c) && !"/?#".contains(c))
}

/// The lines of a text, one after the other.
struct Lines<'t> {
    rest: std::iter::Peekable<std::str::Split<'t, char>>,
    /// The number of the line that was taken last.
    line: usize,
}

impl<'t> Lines<'t> {
    fn take(&mut self, expected: &'static str) -> Result<&'t str, MessageError> {
        self.line += 1;
        self.rest.next().ok_or_else(|| self.wrong(expected))
    }

    fn empty(&mut self) -> Result<(), MessageError> {
        match self.take("empty")? {
            "" => Ok(()),
            _ => Err(self.wrong("empty")),
        }
    }

    /// The rest of a line that begins so.
    fn field(
        &mut self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<&'t str, MessageError> {
        let line = self.take(expected)?;
        line.strip_prefix(name).ok_or_else(|| self.wrong(expected))
    }

    /// The same of a line that may be left out.
    fn optional(&mut self, name: &'static str) -> Option<&'t str> {
        let value = self.rest.peek()?.strip_prefix(name)?;
        self.rest.next();
        self.line += 1;
        Some(value)
    }

    fn instant(&self, text: &str, expected: &'static str) -> Result<Millis, MessageError> {
        text.parse().map_err(|_| self.wrong(expected))
    }

    fn wrong(&self, expected: &'static str) -> MessageError {
        MessageError::Line {
            line: self.line,
            expected,
        }
    }

    fn must(&self, holds: bool, expected: &'static str) -> Result<(), MessageError> {
        holds.then_some(()).ok_or_else(|| self.wrong(expected))
    }
}

impl FromStr for SignInMessage {
    type Err = MessageError;

    /// Reads the text by the grammar of EIP-4361, except that a URI is only looked at for its
    /// scheme and its characters.
    fn from_str(text: &str) -> Result<SignInMessage, MessageError> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong(text.len()));
        }
        let rest = text.split('\n').peekable();
        let mut lines = Lines { rest, line: 0 };
        let (scheme, domain) = first_line(&mut lines)?;
        let address = lines.take("an address with its checksum (EIP-55)")?;
        let address: Address = address.parse().map_err(MessageError::Address)?;
        lines.empty()?;
        let statement = statement(&mut lines)?;
        let uri = lines.field("URI: ", "URI: and a URI")?;
        lines.must(is_uri(uri), "URI: and a URI")?;
        let version = lines.field("Version: ", "Version: 1")?;
        lines.must(version == "1", "Version: 1")?;
        const CHAIN: &str = "Chain ID: and a number";
        let chain_id = lines.field("Chain ID: ", CHAIN)?;
        lines.must(chain_id.bytes().all(|byte| byte.is_ascii_digit()), CHAIN)?;
        let chain_id = chain_id.parse().map_err(|_| lines.wrong(CHAIN))?;
        const NONCE: &str = "Nonce: and at least 8 letters and digits";
        let nonce = lines.field("Nonce: ", NONCE)?;
        let is_nonce = nonce.len() >= NONCE_CHARS_MIN
            && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        lines.must(is_nonce, NONCE)?;
        const ISSUED: &str = "Issued At: and a time (RFC 3339)";
        let issued_at = lines.field("Issued At: ", ISSUED)?;
        let issued_at = lines.instant(issued_at, ISSUED)?;
        let expires_at = lines.optional("Expiration Time: ");
        let expires_at = expires_at.map(|at| lines.instant(at, "Expiration Time: and a time"));
        let expires_at = expires_at.transpose()?;
        let not_before = lines.optional("Not Before: ");
        let not_before = not_before.map(|at| lines.instant(at, "Not Before: and a time"));
        let not_before = not_before.transpose()?;
        let request_id = lines.optional("Request ID: ");
        let is_id = request_id.is_none_or(|id| id.chars().all(is_path_char));
        lines.must(is_id, "Request ID: and a name")?;
        let resources = resources(&mut lines)?;
        Ok(SignInMessage {
            scheme,
            domain,
            address,
            statement,
            uri: uri.to_owned(),
            chain_id,
            nonce: nonce.to_owned(),
            issued_at,
            expires_at,
            not_before,
            request_id: request_id.map(str::to_owned),
            resources,
        })
    }
}

fn first_line(lines: &mut Lines<'_>) -> Result<(Option<String>, String), MessageError> {
    const EXPECTED: &str = "<domain> wants you to sign in with your Ethereum account:";
    let line = lines.take(EXPECTED)?;
    let origin = line
        .strip_suffix(ASKS)
        .ok_or_else(|| lines.wrong(EXPECTED))?;
    let (scheme, domain) = match origin.split_once("://") {
        Some((scheme, domain)) => (Some(scheme), domain),
        None => (None, origin),
    };
    let is_origin = scheme.is_none_or(is_scheme) && is_authority(domain);
    lines.must(is_origin, EXPECTED)?;
    Ok((scheme.map(str::to_owned), domain.to_owned()))
}

fn statement(lines: &mut Lines<'_>) -> Result<Option<String>, MessageError> {
    const EXPECTED: &str = "a statement in printable ASCII, or empty";
    let line = lines.take(EXPECTED)?;
    if line.is_empty() {
        return Ok(None);
    }
    lines.must(line.chars().all(is_statement_char), EXPECTED)?;
    lines.empty()?;
    Ok(Some(line.to_owned()))
}

fn resources(lines: &mut Lines<'_>) -> Result<Vec<String>, MessageError> {
    const HEAD: &str = "Resources:, or the text must end before it";
    const RESOURCE: &str = "a dash, a space and a URI";
    if lines.rest.peek().is_none() {
        return Ok(Vec::new());
    }
    let head = lines.take(HEAD)?;
    lines.must(head == "Resources:", HEAD)?;
    let mut resources = Vec::new();
    while lines.rest.peek().is_some() {
        let resource = lines.field("- ", RESOURCE)?;
        lines.must(is_uri(resource), RESOURCE)?;
        resources.push(resource.to_owned());
    }
    Ok(resources)
}
