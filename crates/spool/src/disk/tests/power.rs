//! Files that lose, tear and reorder whatever was not made durable when the power goes.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::disk::files::{File, Files};

/// A disk writes a sector whole or not at all.
const SECTOR: usize = 512;

/// What is taken out of the files, to prove that it is needed; or made to fail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// `fdatasync` does nothing.
    pub(super) no_sync: bool,
    /// Syncing a folder does nothing.
    pub(super) no_dir_sync: bool,
    /// Octets that the disk holds; above that there is no room.
    pub(super) room: Option<u64>,
    /// The n-th `fdatasync` from now on fails, and what it should have made durable may be lost.
    pub(super) fail_sync: Option<u64>,
    /// The n-th write from now on fails, half done.
    pub(super) fail_write: Option<(u64, io::ErrorKind)>,
}

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What each sector held since it was durable last, in order.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
}

#[derive(Clone, Debug)]
enum NameOp {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Since the folder was durable last.
    name_ops: Vec<NameOp>,
    /// Operations until the power goes.
    fuse: Option<u64>,
    off: bool,
    faults: Faults,
    locked: bool,
    rng: StdRng,
}

/// The twin of [`crate::disk::SystemFiles`]; clones share the disk.
#[derive(Clone)]
pub(super) struct PowerFiles {
    world: Arc<Mutex<World>>,
}

impl PowerFiles {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let world = World {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_ops: Vec::new(),
            fuse: None,
            off: false,
            faults,
            locked: false,
            rng: StdRng::seed_from_u64(seed),
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The power goes after so many operations more.
    pub(super) fn set_fuse(&self, operations: Option<u64>) {
        self.world().fuse = operations;
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    pub(super) fn is_off(&self) -> bool {
        self.world().off
    }

    /// The power comes back: what is on the disk is what was durable, and any part of the rest.
    pub(super) fn power_cycle(&self) {
        let world = &mut *self.world();
        for inode in &mut world.inodes {
            inode.cut(&mut world.rng);
        }
        let ops = std::mem::take(&mut world.name_ops);
        let in_order = world.rng.random_bool(0.5);
        let prefix = world.rng.random_range(0..=ops.len());
        for (i, op) in ops.into_iter().enumerate() {
            let kept = if in_order { i < prefix } else { world.rng.random_bool(0.5) };
            if kept {
                apply(&mut world.durable_names, &op);
            }
        }
        world.names = world.durable_names.clone();
        (world.off, world.fuse, world.locked) = (false, None, false);
    }

    /// The process dies; the system and its page cache live on.
    pub(super) fn kill(&self) {
        let world = &mut *self.world();
        (world.off, world.fuse, world.locked) = (false, None, false);
    }

    /// A file's octets, to damage them.
    pub(super) fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let world = &mut *self.world();
        let inode = world.names[path];
        let inode = &mut world.inodes[inode];
        edit(&mut inode.now);
        inode.durable = inode.now.clone();
        inode.dirty.clear();
    }

    /// A copy of the disk as the process sees it, all of it durable.
    pub(super) fn fork(&self) -> Self {
        let world = self.world();
        let mut inodes = world.inodes.clone();
        for inode in &mut inodes {
            inode.durable = inode.now.clone();
            inode.dirty.clear();
        }
        let copy = World {
            inodes,
            names: world.names.clone(),
            durable_names: world.names.clone(),
            name_ops: Vec::new(),
            fuse: None,
            off: false,
            faults: Faults::default(),
            locked: false,
            rng: StdRng::seed_from_u64(1),
        };
        Self { world: Arc::new(Mutex::new(copy)) }
    }
}

impl Inode {
    fn cut(&mut self, rng: &mut StdRng) {
        let len = if rng.random_bool(0.5) { self.now.len() } else { self.durable.len() };
        self.durable.resize(len, 0);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let chosen = rng.random_range(0..=versions.len());
            let Some(version) = chosen.checked_sub(1).map(|i| &versions[i]) else { continue };
            let at = sector * SECTOR;
            if at < len {
                let end = (at + version.len()).min(len);
                self.durable[at..end].copy_from_slice(&version[..end - at]);
            }
        }
        self.now = self.durable.clone();
    }

    fn write(&mut self, bytes: &[u8], at: usize) {
        if self.now.len() < at + bytes.len() {
            self.now.resize(at + bytes.len(), 0);
        }
        self.now[at..at + bytes.len()].copy_from_slice(bytes);
        for sector in at / SECTOR..(at + bytes.len()).div_ceil(SECTOR) {
            let from = sector * SECTOR;
            let version = self.now[from..(from + SECTOR).min(self.now.len())].to_vec();
            self.dirty.entry(sector).or_default().push(version);
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.now.len());
            self.durable[from..to].copy_from_slice(&self.now[from..to]);
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, op: &NameOp) {
    match op {
        NameOp::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
        NameOp::Unlink(path) => drop(names.remove(path)),
        NameOp::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

impl World {
    /// Burns the fuse; an error once the power is off. The operation that burns it still happens, as the last one.
    fn operate(&mut self) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        if let Some(fuse) = &mut self.fuse {
            *fuse = fuse.saturating_sub(1);
            self.off = *fuse == 0;
        }
        Ok(())
    }

    /// A promise cannot be given when the power goes meanwhile.
    fn still_on(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the power went")) } else { Ok(()) }
    }

    fn change_names(&mut self, op: NameOp) {
        apply(&mut self.names, &op);
        self.name_ops.push(op);
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].now.len() as u64).sum()
    }
}

impl Files for PowerFiles {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut world = self.world();
        if std::mem::replace(&mut world.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Unlock(self.clone())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        let names = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let world = self.world();
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(PowerFile { files: self.clone(), inode }))
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let mut world = self.world();
        world.operate()?;
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if world.faults.room.is_some_and(|room| world.used() + len > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = world.inodes.len();
        world.inodes.push(Inode { now: vec![0; len as usize], ..Inode::default() });
        world.change_names(NameOp::Link(path.to_owned(), inode));
        Ok(Arc::new(PowerFile { files: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operate()?;
        if !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change_names(NameOp::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operate()?;
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change_names(NameOp::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let world = &mut *self.world();
        world.operate()?;
        world.still_on()?;
        if !world.faults.no_dir_sync {
            world.durable_names = world.names.clone();
            world.name_ops.clear();
        }
        Ok(())
    }

    fn salt(&self) -> u64 {
        self.world().rng.random()
    }
}

struct Unlock(PowerFiles);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.world().locked = false;
    }
}

struct PowerFile {
    files: PowerFiles,
    inode: usize,
}

/// Counts down; `true` at the end.
fn strikes(counter: &mut Option<u64>) -> bool {
    let Some(left) = counter else { return false };
    *left = left.saturating_sub(1);
    let now = *left == 0;
    if now {
        *counter = None;
    }
    now
}

impl File for PowerFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.files.world().inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.files.world();
        let bytes = world.inodes[self.inode].now.get(offset as usize..).unwrap_or_default();
        let n = buf.len().min(bytes.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let world = &mut *self.files.world();
        world.operate()?;
        let mut all = Vec::new();
        slices.iter().for_each(|slice| all.extend_from_slice(slice));
        if let Some((left, kind)) = world.faults.fail_write {
            let mut left = Some(left);
            let now = strikes(&mut left);
            world.faults.fail_write = left.map(|left| (left, kind));
            if now {
                world.inodes[self.inode].write(&all[..all.len() / 2], offset as usize);
                return Err(kind.into());
            }
        }
        world.inodes[self.inode].write(&all, offset as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let world = &mut *self.files.world();
        world.operate()?;
        if strikes(&mut world.faults.fail_sync) {
            // The kernel takes the pages for clean from now on, though they never reached the disk.
            world.inodes[self.inode].dirty.clear();
            return Err(io::Error::other("the disk is broken"));
        }
        world.still_on()?;
        if !world.faults.no_sync {
            world.inodes[self.inode].sync();
        }
        Ok(())
    }
}
