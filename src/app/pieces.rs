//! Files that one task makes piece by piece while another takes them.

use bytes::Bytes;
use futures::stream::{Stream, unfold};
use tokio::sync::mpsc;

/// What the maker hands on.
pub enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// The file is whole.
    End,
}

/// The pieces, and an error unless the last of them says that it is the last: so nobody takes a
/// part for the whole, however its maker ended.
pub fn received<E>(
    pieces: mpsc::Receiver<Piece>,
    cut_short: fn() -> E,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    unfold(Some(pieces), move |pieces| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(pieces))),
            Some(Piece::End) => None,
            None => Some((Err(cut_short()), None)),
        }
    })
}
