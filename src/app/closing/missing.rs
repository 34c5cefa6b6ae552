//! Files of closed months that are gone.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;

use super::carry::close_file;
use crate::app::CommandError;
use crate::claims::{CloseFile, FileKind, FileName};
use crate::objects::Objects;
use crate::store::closes;
use crate::store::db::Db;

/// The files of all finished closes that are gone or have another length. They are looked for by
/// name and length; nothing is read.
pub async fn missing_files(db: &dyn Db, files: &Objects) -> Result<Vec<FileName>, CommandError> {
    let mut missing = Vec::new();
    for close in closes::all(db).await? {
        if let Some(file) = close_file(&close)? {
            missing.extend(missing_of(files, &file).await?);
        }
    }
    Ok(missing)
}

/// Those of one close.
pub(super) async fn missing_of(
    files: &Objects,
    close: &CloseFile,
) -> Result<Vec<FileName>, CommandError> {
    let folder = close.month.to_string();
    let listed = files
        .list(Some(&folder))
        .try_filter_map(async |meta| {
            let name = meta.location.filename().map(str::to_owned);
            Ok(name.map(|name| (name, meta.size)))
        })
        .try_collect();
    let there: BTreeMap<String, u64> = listed.await?;
    let own = (FileKind::Close, close.bytes().len() as u64);
    let entries = close.files.iter();
    let expected = entries.filter_map(|entry| Some((entry.name.parse().ok()?, entry.bytes)));
    let expected = expected.chain([own]);
    let missing = expected.filter(|(kind, bytes)| there.get(&kind.to_string()) != Some(bytes));
    Ok(missing.map(|(kind, _)| close.name_of(kind)).collect())
}
