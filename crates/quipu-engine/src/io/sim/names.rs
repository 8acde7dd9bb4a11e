//! The names on the disk, and the changes to them that no directory sync made durable yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Result};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::fates::{Fates, NameOrder};

/// What a name stands for. Files are numbered; a number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File(u64),
}

/// A change to names that a crash may take back.
#[derive(Clone, Debug)]
enum Change {
    Add { path: PathBuf, node: Node },
    Rename { from: PathBuf, to: PathBuf, node: Node },
    Remove { path: PathBuf },
}

impl Change {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            Self::Add { path, .. } | Self::Remove { path } => (path, None),
            Self::Rename { from, to, .. } => (from, Some(to)),
        };
        [Some(first), second].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Follows the directory `from`, whose name becomes `to`.
    fn move_below(&mut self, from: &Path, to: &Path) {
        let follow = |path: &mut PathBuf| {
            if path != from && path.starts_with(from) {
                *path = moved(path, from, to);
            }
        };
        match self {
            Self::Add { path, .. } | Self::Remove { path } => follow(path),
            Self::Rename { from, to, .. } => {
                follow(from);
                follow(to);
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Add { path, node } => {
                names.insert(path.clone(), *node);
            }
            Self::Rename { from, to, node } => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
                if *node == Node::Directory {
                    let below = names.extract_if(.., |path, _| path.starts_with(from));
                    let below: Vec<_> =
                        below.map(|(path, node)| (moved(&path, from, to), node)).collect();
                    names.extend(below);
                }
            }
            Self::Remove { path } => {
                names.remove(path);
            }
        }
    }
}

/// The names on the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// What the disk holds.
    durable: BTreeMap<PathBuf, Node>,
    /// What processes see.
    current: BTreeMap<PathBuf, Node>,
    /// How one becomes the other, in order.
    pending: Vec<Pending>,
}

/// A change that no sync has made durable.
#[derive(Clone, Debug)]
struct Pending {
    change: Change,
    /// A sync failed over it: the process that called it gets it synced no more.
    is_given_up: bool,
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        if is_root(path) { Some(Node::Directory) } else { self.current.get(path).copied() }
    }

    pub(super) fn file(&self, path: &Path) -> Result<u64> {
        match self.get(path) {
            Some(Node::File(number)) => Ok(number),
            Some(Node::Directory) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Fails unless `path` is a directory.
    pub(super) fn directory(&self, path: &Path) -> Result<()> {
        match self.get(path) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Fails unless `path` is free and its directory is there.
    pub(super) fn vacant(&self, path: &Path) -> Result<()> {
        if self.get(path).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.directory(parent(path))
    }

    pub(super) fn add(&mut self, path: &Path, node: Node) -> Result<()> {
        self.vacant(path)?;
        self.change(Change::Add { path: path.to_path_buf(), node });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let node = self.get(from).ok_or(ErrorKind::NotFound)?;
        self.directory(parent(to))?;
        match (node, self.get(to)) {
            (Node::File(_), Some(Node::Directory)) => return Err(ErrorKind::IsADirectory.into()),
            (Node::Directory, Some(Node::File(_))) => return Err(ErrorKind::NotADirectory.into()),
            (Node::Directory, _) if to != from && to.starts_with(from) => {
                return Err(ErrorKind::InvalidInput.into());
            }
            (Node::Directory, Some(Node::Directory)) if !self.list(to)?.is_empty() => {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            _ => {}
        }
        if from != to {
            if node == Node::Directory {
                // What is in it moves along, durable or not.
                for Pending { change, .. } in &mut self.pending {
                    change.move_below(from, to);
                }
            }
            self.change(Change::Rename { from: from.to_path_buf(), to: to.to_path_buf(), node });
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<()> {
        self.file(path)?;
        self.change(Change::Remove { path: path.to_path_buf() });
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(Pending { change, is_given_up: false });
    }

    pub(super) fn list(&self, directory: &Path) -> Result<Vec<String>> {
        self.directory(directory)?;
        let below = self.current.range::<Path, _>((Bound::Excluded(directory), Bound::Unbounded));
        Ok(below
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(directory))
            .filter(|path| path.parent() == Some(directory))
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    /// Every file that processes see.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.current.iter().filter_map(|(path, node)| match node {
            Node::File(number) => Some((path.as_path(), *number)),
            Node::Directory => None,
        })
    }

    /// The files that have a name, or may have one again after a crash.
    pub(super) fn in_use(&self) -> BTreeSet<u64> {
        let pending = self.pending.iter().filter_map(|pending| match &pending.change {
            Change::Add { node, .. } | Change::Rename { node, .. } => Some(node),
            Change::Remove { .. } => None,
        });
        let nodes = self.durable.values().chain(self.current.values()).chain(pending);
        nodes
            .filter_map(|node| match node {
                Node::File(number) => Some(*number),
                Node::Directory => None,
            })
            .collect()
    }

    pub(super) fn sync(&mut self, directory: &Path) {
        let mut concerned = self.concerned(directory).into_iter();
        let synced = self
            .pending
            .extract_if(.., |pending| concerned.next().unwrap_or(false) && !pending.is_given_up);
        for Pending { change, .. } in synced {
            change.apply(&mut self.durable);
        }
    }

    /// A sync that fails: some of the changes, from the first on, are durable. The others will not
    /// be for as long as the process lives, although it sees them. File systems stop working after
    /// such an error; when they work again, for another process, they know what was not written.
    pub(super) fn fail_sync(&mut self, directory: &Path, fates: &mut Fates) {
        let mut concerned = self.concerned(directory).into_iter();
        let mut is_failed = false;
        let synced = self.pending.extract_if(.., |pending| {
            if !concerned.next().unwrap_or(false) {
                return false;
            }
            is_failed |= pending.is_given_up || !fates.is_kept();
            pending.is_given_up = is_failed;
            !is_failed
        });
        for Pending { change, .. } in synced {
            change.apply(&mut self.durable);
        }
    }

    /// Another process begins.
    pub(super) fn restart(&mut self) {
        for pending in &mut self.pending {
            pending.is_given_up = false;
        }
    }

    /// Which changes a sync of `directory` makes durable: its own, and the earlier ones elsewhere
    /// that concern the same names.
    fn concerned(&self, directory: &Path) -> Vec<bool> {
        let mut names = BTreeSet::new();
        let mut concerned = vec![false; self.pending.len()];
        for (Pending { change, .. }, concerned) in self.pending.iter().zip(&mut concerned).rev() {
            *concerned =
                change.paths().any(|path| parent(path) == directory || names.contains(path));
            if *concerned {
                names.extend(change.paths());
            }
        }
        concerned
    }

    /// How many things a crash would decide on.
    pub(super) fn undecided(&self) -> usize {
        self.pending.len()
    }

    /// The power fails.
    pub(super) fn crash(&mut self, fates: &mut Fates) {
        if !self.pending.is_empty() {
            fates.change_mood();
        }
        let order = fates.name_order();
        let mut lost: BTreeSet<PathBuf> = BTreeSet::new();
        for Pending { change, .. } in self.pending.drain(..) {
            // What a later change depends on must not be lost before it.
            let key = |path: &Path| match order {
                NameOrder::Journal => PathBuf::new(),
                NameOrder::Directory => parent(path).to_path_buf(),
                NameOrder::Name => path.to_path_buf(),
            };
            let kept = fates.is_kept();
            if kept && !change.paths().any(|path| lost.contains(&key(path))) {
                change.apply(&mut self.durable);
            } else {
                lost.extend(change.paths().map(key));
            }
        }
        // A directory that was lost takes with it what is in it. Parents come before children.
        let mut reachable: BTreeMap<PathBuf, Node> = BTreeMap::new();
        for (path, node) in std::mem::take(&mut self.durable) {
            let above = parent(&path);
            if is_root(above) || reachable.get(above) == Some(&Node::Directory) {
                reachable.insert(path, node);
            }
        }
        self.current.clone_from(&reachable);
        self.durable = reachable;
    }
}

/// A path below `from` after `from` became `to`.
fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    path.strip_prefix(from).map_or_else(|_| path.to_path_buf(), |rest| to.join(rest))
}

/// Roots are always there: that of absolute paths and that of relative ones.
fn is_root(path: &Path) -> bool {
    path.parent().is_none()
}

/// The directory that holds `path`.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
