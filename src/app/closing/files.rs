//! Writes the files of a close, and reads them again.

use std::io::{self, Write};
use std::sync::Arc;

use base16ct::lower::encode_string;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc;
use tokio::task::JoinError;

use super::Closing;
use crate::app::pieces::{Piece, received};
use crate::app::{CommandError, Refusal};
use crate::claims::{
    CLAIMS_PER_FILE, Claims, CloseFile, CloseTotals, FileEntry, FileKind, FileName, Roots,
    sha256_of, write_accounts, write_openzeppelin, write_sablier, write_tree, write_uniswap,
};
use crate::domain::closing::{ClosedMonth, Tree};
use crate::domain::ethereum::U256;
use crate::domain::time::Month;
use crate::objects::{Objects, ObjectsError};
use crate::store::closes::BegunClose;

/// Files are made and written in pieces of about this size.
const PIECE_BYTES: usize = 1024 * 1024;
/// Pieces that are made ahead.
const PIECES_AHEAD: usize = 2;
/// A file up to this size is written at once, and only if it is not there.
const SMALL_BYTES: usize = 4 * PIECE_BYTES;

/// A file of a close, piece by piece.
pub struct ClosedFile {
    /// Which.
    pub name: FileName,
    /// How long it is.
    pub bytes: u64,
    /// Its bytes.
    pub pieces: BoxStream<'static, Result<Bytes, ObjectsError>>,
}

/// Makes a file: a job for a thread that may block.
type Render = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// Hashes what is written to it.
struct Hashing {
    hash: Context,
    bytes: u64,
}

impl Hashing {
    fn new() -> Hashing {
        Hashing {
            hash: Context::new(&SHA256),
            bytes: 0,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn sha256(self) -> String {
        encode_string(self.hash.finish().as_ref())
    }

    /// What the record of a close says of the file.
    fn entry(self, name: FileName) -> FileEntry {
        FileEntry {
            name: name.kind.to_string(),
            bytes: self.bytes,
            sha256: self.sha256(),
        }
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands on what is written in pieces, and hashes it.
struct Pieces {
    piece: BytesMut,
    sender: mpsc::Sender<Piece>,
    hashed: Hashing,
}

impl Pieces {
    fn new(sender: mpsc::Sender<Piece>) -> Pieces {
        Pieces {
            piece: BytesMut::with_capacity(PIECE_BYTES),
            sender,
            hashed: Hashing::new(),
        }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let piece = self.piece.split().freeze();
        self.hashed.write_all(&piece)?;
        self.send(Piece::Bytes(piece))
    }

    fn send(&self, piece: Piece) -> io::Result<()> {
        let sent = self.sender.blocking_send(piece);
        sent.map_err(|_| io::Error::other("the file is not wanted any more"))
    }

    fn finish(mut self) -> io::Result<Hashing> {
        if !self.piece.is_empty() {
            self.hand_on()?;
        }
        self.send(Piece::End)?;
        Ok(self.hashed)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.hand_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What came of a job that made a file.
fn made(job: Result<io::Result<Hashing>, JoinError>) -> Result<Hashing, CommandError> {
    let made = job.map_err(|error| CommandError::Internal(error.to_string()))?;
    made.map_err(|error| CommandError::Internal(error.to_string()))
}

/// What a file would be. Nothing is written.
async fn hash_file(name: FileName, render: Render) -> Result<FileEntry, CommandError> {
    let work = tokio::task::spawn_blocking(move || {
        let mut out = Hashing::new();
        render(&mut out)?;
        Ok(out)
    });
    Ok(made(work.await)?.entry(name))
}

/// Writes a file, or finds it there with the same bytes.
async fn put_file(
    files: &Objects,
    name: FileName,
    render: Render,
) -> Result<FileEntry, CommandError> {
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let work = tokio::task::spawn_blocking(move || {
        let mut out = Pieces::new(sender);
        render(&mut out)?;
        out.finish()
    });
    let written = write_or_compare(files, name, Box::pin(received(pieces, cut_short))).await;
    let job = work.await;
    // If the place of the files failed, the job was ended by that.
    written?;
    Ok(made(job)?.entry(name))
}

type MadePiece = Result<Bytes, CommandError>;

fn cut_short() -> CommandError {
    CommandError::Internal("a file of a close was not made to its end".to_owned())
}

async fn write_or_compare(
    files: &Objects,
    name: FileName,
    mut pieces: impl Stream<Item = MadePiece> + Unpin + Send,
) -> Result<(), CommandError> {
    let path = name.to_string();
    if let Some((_, there)) = files.get_pieces(&path).await? {
        return match compare(name, there, &mut pieces).await? {
            None => Ok(()),
            Some(rest) => complete(files, name, rest, pieces).await,
        };
    }
    let mut small = BytesMut::new();
    while small.len() < SMALL_BYTES {
        match pieces.next().await {
            Some(piece) => small.extend_from_slice(&piece?),
            None => return put_small(files, name, small.freeze()).await,
        }
    }
    let first = stream::iter([Ok(small.freeze())]);
    files.put_pieces(&path, first.chain(pieces)).await
}

async fn put_small(files: &Objects, name: FileName, bytes: Bytes) -> Result<(), CommandError> {
    let path = name.to_string();
    if files.put(&path, bytes.clone()).await? {
        return Ok(());
    }
    let Some((_, there)) = files.get_pieces(&path).await? else {
        return Err(damaged(name));
    };
    match compare(name, there, &mut stream::iter([Ok(bytes)])).await? {
        None => Ok(()),
        Some(rest) => complete(files, name, rest, stream::empty()).await,
    }
}

/// Refuses other bytes, however each side is cut into pieces. If the file ends early, what comes
/// next of ours; `None`: it is whole.
async fn compare(
    name: FileName,
    mut there: BoxStream<'static, Result<Bytes, ObjectsError>>,
    ours: &mut (impl Stream<Item = MadePiece> + Unpin + Send),
) -> Result<Option<Bytes>, CommandError> {
    let (mut theirs, mut mine) = (Bytes::new(), Bytes::new());
    loop {
        if theirs.is_empty() {
            theirs = there.next().await.transpose()?.unwrap_or_default();
        }
        if mine.is_empty() {
            mine = ours.next().await.transpose()?.unwrap_or_default();
        }
        let both = theirs.len().min(mine.len());
        if theirs[..both] != mine[..both] || (both == 0 && !theirs.is_empty()) {
            return Err(damaged(name));
        }
        if both == 0 {
            return Ok(Some(mine).filter(|mine| !mine.is_empty()));
        }
        (theirs, mine) = (theirs.slice(both..), mine.slice(both..));
    }
}

/// Writes a file that was cut short again: the part that is there, which was right, and the rest.
async fn complete(
    files: &Objects,
    name: FileName,
    rest: Bytes,
    pieces: impl Stream<Item = MadePiece> + Unpin + Send,
) -> Result<(), CommandError> {
    tracing::warn!(event = "closing.file_completed", file = %name, "a file of a close was cut short");
    let path = name.to_string();
    let there = files.get_pieces(&path).await?;
    let (_, begin) = there.ok_or_else(|| damaged(name))?;
    let begin = begin.map(|piece| piece.map_err(CommandError::from));
    let rest = stream::iter([Ok(rest)]).chain(pieces);
    files.put_pieces(&path, begin.chain(rest)).await
}

/// The code of a file that is not what the close makes.
pub(super) const DAMAGED: &str = "closing_file_damaged";

/// A file that is not what the close makes.
pub(super) fn damaged(name: FileName) -> CommandError {
    let detail = format!(
        "the file {name} is there with other bytes than the close of {month} makes: it was damaged or \
         edited, belongs to another installation, or was written by another version of tidemark. \
         `tidemark close {month}` completes a file that \
         was only cut short; if it refuses this one, move it away first: then it is written again",
        month = name.month
    );
    Refusal::conflict(DAMAGED, detail).into()
}

/// A file that is being sent, while it is hashed.
struct Checked {
    name: FileName,
    place: String,
    sha256: String,
    pieces: BoxStream<'static, Result<Bytes, ObjectsError>>,
    hashed: Hashing,
    /// The last piece that was read.
    held: Bytes,
}

/// The pieces of a file. Its last piece is held back until all bytes are known to have the hash that
/// the close recorded; if they have another one, an error comes in its place. So nobody has a whole
/// file with other bytes, and no file is read twice.
pub(super) fn checked(
    name: FileName,
    place: &str,
    sha256: String,
    pieces: BoxStream<'static, Result<Bytes, ObjectsError>>,
) -> BoxStream<'static, Result<Bytes, ObjectsError>> {
    let checked = Checked {
        name,
        place: place.to_owned(),
        sha256,
        pieces,
        hashed: Hashing::new(),
        held: Bytes::new(),
    };
    let next = |checked: Option<Checked>| async move {
        let mut checked = checked?;
        loop {
            match checked.pieces.next().await {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    checked.hashed.add(&piece);
                    let before = std::mem::replace(&mut checked.held, piece);
                    if !before.is_empty() {
                        return Some((Ok(before), Some(checked)));
                    }
                }
                Some(Err(error)) => return Some((Err(error), None)),
                None => return checked.last().map(|last| (last, None)),
            }
        }
    };
    stream::unfold(Some(checked), next).boxed()
}

impl Checked {
    fn last(self) -> Option<Result<Bytes, ObjectsError>> {
        if self.hashed.sha256() == self.sha256 {
            return (!self.held.is_empty()).then_some(Ok(self.held));
        }
        let (file, place) = (self.name, self.place);
        tracing::error!(
            event = "closing.file_damaged", %file, place,
            "a file of a close has other bytes than the close recorded, although as many; its download \
             was broken off before the end; see docs/runbook.md#tidemarkclosefilesmissing"
        );
        let what = format!("{file} has other bytes than the close recorded ({DAMAGED})");
        Some(Err(ObjectsError { place, what }))
    }
}

/// The tree of claims, made on a thread that may block.
async fn tree_of(
    claims: &Arc<Claims>,
    make: fn(&Claims) -> Result<Option<Tree>, crate::domain::closing::TreeError>,
) -> Result<Option<Arc<Tree>>, CommandError> {
    let claims = Arc::clone(claims);
    let made = tokio::task::spawn_blocking(move || make(&claims)).await;
    let made = made.map_err(|error| CommandError::Internal(error.to_string()))?;
    let made = made.map_err(|error| Refusal::invalid("too_many_claims", error))?;
    Ok(made.map(Arc::new))
}

/// Makes every file of a close but `close.json`, and gives that. `None` as files: they are only
/// hashed.
async fn make_files(
    files: Option<&Objects>,
    begun: &BegunClose,
    closed: &Arc<ClosedMonth>,
    previous: Option<String>,
) -> Result<CloseFile, CommandError> {
    let mut writing = Writing {
        files,
        month: begun.month,
        entries: Vec::new(),
    };
    let claims = Arc::new(Claims::of_close(closed));
    let count = claims.entries().len();
    let mut roots = Roots::default();
    if let Some(tree) = tree_of(&claims, Claims::standard_tree).await? {
        roots.openzeppelin = Some(tree.root().to_string());
        writing
            .openzeppelin(FileKind::OpenZeppelin, &claims, &tree)
            .await?;
        writing
            .tree(FileKind::OpenZeppelinTree, &claims, &tree)
            .await?;
        writing.sablier(&claims, begun.terms.decimals).await?;
    }
    if let Some(tree) = tree_of(&claims, Claims::uniswap_tree).await? {
        roots.uniswap = Some(tree.root().to_string());
        writing.uniswap(&claims, closed.totals.paid, &tree).await?;
        writing.tree(FileKind::UniswapTree, &claims, &tree).await?;
    }
    drop(claims);
    let cumulative = Arc::new(Claims::cumulative(closed));
    if let Some(tree) = tree_of(&cumulative, Claims::standard_tree).await? {
        roots.cumulative = Some(tree.root().to_string());
        writing
            .openzeppelin(FileKind::Cumulative, &cumulative, &tree)
            .await?;
        writing
            .tree(FileKind::CumulativeTree, &cumulative, &tree)
            .await?;
    }
    writing.accounts(closed).await?;
    let mut entries = writing.entries;
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(CloseFile::new(
        begun.month,
        begun.control,
        begun.terms.clone(),
        previous,
        CloseTotals::of(&closed.totals, count),
        roots,
        entries,
    ))
}

impl Closing {
    /// Writes every file of a close but `close.json`, and gives that.
    pub(super) async fn write_files(
        &self,
        begun: &BegunClose,
        closed: &Arc<ClosedMonth>,
        previous: Option<String>,
    ) -> Result<CloseFile, CommandError> {
        make_files(Some(self.files()?), begun, closed, previous).await
    }

    /// The `close.json` of a close whose files would be written.
    pub(super) async fn hash_files(
        &self,
        begun: &BegunClose,
        closed: &Arc<ClosedMonth>,
        previous: Option<String>,
    ) -> Result<CloseFile, CommandError> {
        make_files(None, begun, closed, previous).await
    }

    /// Writes `close.json`.
    pub(super) async fn write_close_file(&self, file: &CloseFile) -> Result<(), CommandError> {
        let name = file.name_of(FileKind::Close);
        put_small(self.files()?, name, file.bytes().into()).await
    }

    /// A whole file of a finished close, with the bytes that its record names; `None`: it is gone,
    /// or was cut short.
    ///
    /// # Errors
    /// It was damaged.
    pub(super) async fn read_whole(
        &self,
        close: &CloseFile,
        kind: FileKind,
    ) -> Result<Option<Bytes>, CommandError> {
        let name = close.name_of(kind);
        let Some(bytes) = self.files()?.get(&name.to_string()).await? else {
            return Ok(None);
        };
        let entry = close.entry(kind);
        if entry.is_some_and(|entry| (bytes.len() as u64) < entry.bytes) {
            return Ok(None);
        }
        match entry.is_some_and(|entry| entry.sha256 == sha256_of(&bytes)) {
            true => Ok(Some(bytes)),
            false => Err(damaged(name)),
        }
    }
}

/// Files in the making.
struct Writing<'c> {
    /// Where they go; `None`: they are only hashed.
    files: Option<&'c Objects>,
    month: Month,
    entries: Vec<FileEntry>,
}

impl Writing<'_> {
    async fn put(
        &mut self,
        kind: FileKind,
        render: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<(), CommandError> {
        let month = self.month;
        let name = FileName { month, kind };
        let entry = match self.files {
            Some(files) => put_file(files, name, Box::new(render)).await?,
            None => hash_file(name, Box::new(render)).await?,
        };
        self.entries.push(entry);
        Ok(())
    }

    async fn openzeppelin(
        &mut self,
        kind: FileKind,
        claims: &Arc<Claims>,
        tree: &Arc<Tree>,
    ) -> Result<(), CommandError> {
        let (claims, tree) = (Arc::clone(claims), Arc::clone(tree));
        self.put(kind, move |out| write_openzeppelin(out, &claims, &tree))
            .await
    }

    async fn tree(
        &mut self,
        kind: FileKind,
        claims: &Arc<Claims>,
        tree: &Arc<Tree>,
    ) -> Result<(), CommandError> {
        let (claims, tree) = (Arc::clone(claims), Arc::clone(tree));
        self.put(kind, move |out| write_tree(out, &claims, &tree))
            .await
    }

    async fn sablier(&mut self, claims: &Arc<Claims>, decimals: u8) -> Result<(), CommandError> {
        let claims = Arc::clone(claims);
        self.put(FileKind::Sablier, move |out| {
            write_sablier(out, &claims, decimals)
        })
        .await
    }

    async fn uniswap(
        &mut self,
        claims: &Arc<Claims>,
        total: U256,
        tree: &Arc<Tree>,
    ) -> Result<(), CommandError> {
        let count = claims.entries().len();
        for (part, begin) in (0..).zip((0..count).step_by(CLAIMS_PER_FILE)) {
            let range = begin..count.min(begin + CLAIMS_PER_FILE);
            let (claims, tree) = (Arc::clone(claims), Arc::clone(tree));
            let render =
                move |out: &mut dyn Write| write_uniswap(out, &claims, total, &tree, range);
            self.put(FileKind::Uniswap(part), render).await?;
        }
        Ok(())
    }

    async fn accounts(&mut self, closed: &Arc<ClosedMonth>) -> Result<(), CommandError> {
        let (sender, index) = tokio::sync::oneshot::channel();
        let closed = Arc::clone(closed);
        let render = move |out: &mut dyn Write| {
            let index = write_accounts(out, &closed.accounts)?;
            // Nobody waits for it if the file failed.
            drop(sender.send(index));
            Ok(())
        };
        self.put(FileKind::Accounts, render).await?;
        let index = index
            .await
            .map_err(|error| CommandError::Internal(error.to_string()))?;
        self.put(FileKind::AccountsIndex, move |out| out.write_all(&index))
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bytes::Bytes;

    use futures::StreamExt as _;

    use super::{DAMAGED, checked, put_file};
    use crate::app::CommandError;
    use crate::claims::{FileEntry, FileKind, FileName, sha256_of};
    use crate::objects::Objects;

    const MIB: usize = 1024 * 1024;

    fn name() -> FileName {
        FileName {
            month: "2026-08".parse().unwrap(),
            kind: FileKind::Accounts,
        }
    }

    fn content() -> Bytes {
        let bytes: Vec<u8> = (0..9 * MIB).map(|at| (at % 251) as u8).collect();
        bytes.into()
    }

    /// Makes the file in parts that fit neither the pieces nor the parts of a store.
    async fn put(files: &Objects) -> Result<FileEntry, CommandError> {
        let render = |out: &mut dyn Write| {
            let content = content();
            let mut parts = content.chunks(300_007);
            parts.try_for_each(|part| out.write_all(part))
        };
        put_file(files, name(), Box::new(render)).await
    }

    async fn get(files: &Objects) -> Bytes {
        let found = files.get(&name().to_string()).await.unwrap();
        found.expect("a file")
    }

    async fn replace(files: &Objects, bytes: Bytes) {
        let path = name().to_string();
        files.delete(&path).await.unwrap();
        files.put(&path, bytes).await.unwrap();
    }

    async fn written_found_and_completed(files: &Objects) {
        let place = files.place();
        let whole = content();
        let written = put(files).await.unwrap();
        assert_eq!(written.name, "accounts.csv");
        assert_eq!(written.bytes, whole.len() as u64);
        assert_eq!(written.sha256, sha256_of(&whole));
        assert!(get(files).await == whole, "{place}: other bytes");
        assert!(put(files).await.unwrap() == written, "{place}: again");
        for cut in [0, 3 * MIB, 5 * MIB, 9 * MIB - 1] {
            replace(files, whole.slice(..cut)).await;
            assert!(put(files).await.unwrap() == written, "{place}: {cut}");
            assert!(get(files).await == whole, "{place}: completed from {cut}");
        }
        let mut changed = whole.to_vec();
        changed[7 * MIB] ^= 1;
        let longer = [&whole[..], b"x"].concat();
        for other in [changed, longer] {
            let other = Bytes::from(other);
            replace(files, other.clone()).await;
            match put(files).await {
                Err(CommandError::Refused(refusal)) => assert_eq!(refusal.code, DAMAGED),
                Err(error) => panic!("{place}: not refused, but {error}"),
                Ok(_) => panic!("{place}: not refused"),
            }
            assert!(get(files).await == other, "{place}: it was overwritten");
        }
    }

    /// What a download gets of a file, and whether it was told that the file is whole.
    async fn downloaded(files: &Objects, sha256: &str) -> (Vec<u8>, bool) {
        let path = name().to_string();
        let (_, pieces) = files.get_pieces(&path).await.unwrap().unwrap();
        let mut pieces = checked(name(), files.place(), sha256.to_owned(), pieces);
        let mut got = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(bytes) => got.extend_from_slice(&bytes),
                Err(error) => {
                    assert!(error.what.contains(DAMAGED), "{error}");
                    assert!(pieces.next().await.is_none(), "it goes on");
                    return (got, false);
                }
            }
        }
        (got, true)
    }

    async fn a_changed_byte_is_noticed(files: &Objects) {
        let place = files.place();
        for size in [0, 1, 1_000, 9 * MIB] {
            let whole = content().slice(..size);
            let sha256 = sha256_of(&whole);
            replace(files, whole.clone()).await;
            let (got, is_whole) = downloaded(files, &sha256).await;
            assert!(is_whole && got == whole, "{place}: {size} bytes");
            for at in [0, size / 2, size.saturating_sub(1)] {
                let mut changed = whole.to_vec();
                let Some(byte) = changed.get_mut(at) else {
                    continue;
                };
                *byte ^= 1;
                replace(files, changed.into()).await;
                let (got, is_whole) = downloaded(files, &sha256).await;
                // As many bytes as were announced would be taken for all of it.
                assert!(
                    !is_whole && got.len() < size,
                    "{place}: byte {at} of {size}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_download_of_a_file_with_other_bytes_does_not_end_well() {
        let files = Objects::in_memory();
        files.put(&name().to_string(), Bytes::new()).await.unwrap();
        a_changed_byte_is_noticed(&files).await;
        let folder = tempfile::tempdir().unwrap();
        let files = Objects::in_directory(folder.path()).unwrap();
        files.put(&name().to_string(), Bytes::new()).await.unwrap();
        a_changed_byte_is_noticed(&files).await;
    }

    #[tokio::test]
    async fn a_large_file_is_written_found_completed_and_never_overwritten() {
        written_found_and_completed(&Objects::in_memory()).await;
        let folder = tempfile::tempdir().unwrap();
        written_found_and_completed(&Objects::in_directory(folder.path()).unwrap()).await;
    }
}
