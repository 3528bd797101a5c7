//! The open file: appended to, synced, finished by a rename.
//!
//! While a file is written its name ends in `.open`. What a crash left behind is cut to whole lines and continued.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_mail::UnixMs;
use sluice_mail::header::date::civil;

use super::{Config, Format, csv};

/// Begins the name of every file of ours.
pub(crate) const PREFIX: &str = "acct-";
/// Ends the name of the file that is written to.
pub(crate) const OPEN: &str = "open";
/// Made and removed to find out whether the folder can be written to.
const PROBE: &str = ".probe";
/// Files that may be begun in one second.
const PER_SECOND_MAX: u32 = 10_000;
/// Octets that are looked at in one step in search of the last line's end.
const CHUNK: u64 = 64 << 10;

/// The files; one is open at most. Everything here blocks.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    format: Format,
    rotate_every: Duration,
    rotate_size: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    /// Octets that are safe.
    len: u64,
    since: UnixMs,
}

impl Files {
    /// Makes the folder when it is not there, and takes up what an earlier run left open.
    pub(crate) fn open(config: &Config, now: UnixMs) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o750).create(&config.directory)?;
        let mut files = Self {
            directory: config.directory.clone(),
            format: config.format,
            rotate_every: config.rotate_every,
            rotate_size: config.rotate_size,
            open: None,
        };
        for path in files.left_open()? {
            files.finish()?;
            files.take_up(path, now)?;
        }
        let is_ours =
            |open: &Open| open.path.with_extension("").extension() == Some(config.format.extension().as_ref());
        if !files.open.as_ref().is_some_and(is_ours) {
            files.finish()?;
        }
        // So that a folder that cannot be written to is found at the start. A full disk is no reason not to start.
        let probe = config.directory.join(PROBE);
        match File::create(&probe).and_then(|_| fs::remove_file(&probe)) {
            Err(why) if why.kind() != io::ErrorKind::StorageFull => Err(why),
            Ok(()) | Err(_) => Ok(files),
        }
    }

    /// Cuts what a crash left of an unfinished line.
    fn take_up(&mut self, path: PathBuf, now: UnixMs) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let len = whole_lines(&mut file)?;
        file.set_len(len)?;
        file.seek(SeekFrom::Start(len))?;
        file.sync_all()?;
        self.open = Some(Open { path, file, len, since: now });
        Ok(())
    }

    fn left_open(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
            if is_ours && path.extension().is_some_and(|extension| extension == OPEN) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Whether the open file has had its time or its size.
    pub(crate) fn is_due(&self, now: UnixMs) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.len > 0 && (open.len >= self.rotate_size || now.since(open.since) >= self.rotate_every)
        })
    }

    /// Appends whole lines: safe on disk when it returns `Ok`. When it fails the file is cut to what it was; when that
    /// fails too, it is left as it is until the next start, and what is appended next goes to another.
    pub(crate) fn append(&mut self, lines: &[u8], now: UnixMs) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.create(now)?,
        };
        let header = match self.format {
            Format::Csv if open.len == 0 => csv::HEADER,
            Format::Csv | Format::Json => "",
        };
        let file = &mut open.file;
        let written = file.write_all(header.as_bytes()).and_then(|()| file.write_all(lines));
        match written.and_then(|()| file.sync_data()) {
            Ok(()) => {
                open.len += (header.len() + lines.len()) as u64;
                self.open = Some(open);
                Ok(())
            }
            Err(why) => {
                let cut = file.set_len(open.len).and_then(|()| file.seek(SeekFrom::Start(open.len)));
                self.open = cut.is_ok().then_some(open);
                Err(why)
            }
        }
    }

    fn create(&self, now: UnixMs) -> io::Result<Open> {
        let ((year, month, day), (hour, minute, second)) = civil(now);
        let stamp = format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}");
        for nth in 1..PER_SECOND_MAX {
            let name = format!("{PREFIX}{stamp}-{nth:04}.{}", self.format.extension());
            let taken = ["", ".gz"].iter().any(|end| self.directory.join(format!("{name}{end}")).exists());
            let path = self.directory.join(format!("{name}.{OPEN}"));
            if taken {
                continue;
            }
            match create(&path) {
                Ok(file) => {
                    sync_folder(&self.directory)?;
                    return Ok(Open { path, file, len: 0, since: now });
                }
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
                Err(why) => return Err(why),
            }
        }
        Err(io::Error::other("too many files in one second"))
    }

    /// Gives the open file its final name, if there is one with something in it; whether there was.
    pub(crate) fn finish(&mut self) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        let is_used = open.len > 0;
        if is_used {
            fs::rename(&open.path, open.path.with_extension(""))?;
        } else {
            fs::remove_file(&open.path)?;
        }
        self.open = None;
        sync_folder(&self.directory)?;
        Ok(is_used)
    }
}

/// Octets up to the end of the last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(start))?;
        chunk.clear();
        file.take(end - start).read_to_end(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|octet| *octet == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)
}

pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
