//! What is done with finished files: compressed, and removed when there are too many.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::files::{PREFIX, sync_folder};

/// Compresses what is finished and not compressed, if that is wanted, and removes the oldest until `max_files` are left;
/// how many were removed. What a crash left half done is done again. Whoever takes the files away may be quicker at any
/// time.
pub(crate) fn tidy(directory: &Path, compress: bool, max_files: usize) -> io::Result<usize> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut finished = Vec::new();
    for path in entries {
        match kind(&path) {
            Some(Kind::Plain | Kind::Compressed) => finished.push(path),
            Some(Kind::HalfDone) => fs::remove_file(&path)?,
            None => {}
        }
    }
    if compress {
        for path in finished.iter_mut().filter(|path| path.extension() != Some("gz".as_ref())) {
            match compressed(path) {
                Ok(compressed) => *path = compressed,
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                Err(why) => return Err(why),
            }
        }
    }
    // Names sort by the time at which the file was begun.
    finished.sort();
    finished.dedup();
    let excess = finished.len().saturating_sub(max_files);
    for path in &finished[..excess] {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why),
        }
    }
    Ok(excess)
}

enum Kind {
    Plain,
    Compressed,
    HalfDone,
}

/// `None`: the open file, or none of ours.
fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    match name.rsplit_once('.')?.1 {
        "jsonl" | "csv" => Some(Kind::Plain),
        "gz" => Some(Kind::Compressed),
        "tmp" => Some(Kind::HalfDone),
        _ => None,
    }
}

/// Replaces the file by a compressed one; the old is gone only when the new is safe.
fn compressed(path: &Path) -> io::Result<PathBuf> {
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (target, half_done) = (with(".gz"), with(".gz.tmp"));
    let mut source = BufReader::new(File::open(path)?);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&half_done)?;
    let mut encoder = GzEncoder::new(BufWriter::new(file), Compression::default());
    io::copy(&mut source, &mut encoder)?;
    let mut writer = encoder.finish()?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    fs::rename(&half_done, &target)?;
    if let Some(folder) = path.parent() {
        sync_folder(folder)?;
    }
    fs::remove_file(path)?;
    Ok(target)
}
