//! Texts that people give as a reason or a name, and that are kept.

/// Most characters of a reason.
pub const REASON_CHARS_MAX: usize = 500;

/// Why a text cannot be kept as what people call or say of something. Another text can; retrying is
/// of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} {fault}")]
pub struct TextError {
    /// What it is: a reason, a name.
    pub what: &'static str,
    /// What is wrong with it.
    pub fault: TextFault,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// It is empty, or nothing but spaces.
    #[error("is empty; write 1 to {REASON_CHARS_MAX} characters")]
    Empty,
    /// It is too long.
    #[error("has {0} characters; allowed are 1 to {REASON_CHARS_MAX}")]
    TooLong(usize),
    /// It would steer a terminal, or break a line.
    #[error("has control characters; write it in one line of plain text")]
    Control,
}

/// Whether a text can stand as a reason: 1 to 500 characters, none of them a control character.
pub fn check_reason(reason: &str) -> Result<(), TextError> {
    check_text("reason", reason)
}

/// [`check_reason`] for a text that is something else, `what`.
pub fn check_text(what: &'static str, text: &str) -> Result<(), TextError> {
    let chars = text.chars().count();
    let fault = if text.trim().is_empty() {
        TextFault::Empty
    } else if text.chars().any(char::is_control) {
        TextFault::Control
    } else if chars > REASON_CHARS_MAX {
        TextFault::TooLong(chars)
    } else {
        return Ok(());
    };
    Err(TextError { what, fault })
}
