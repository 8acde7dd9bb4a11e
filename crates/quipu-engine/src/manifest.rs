//! The manifest's two files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DiskError;
use crate::format::manifest::{MANIFEST_SIZE_MAX, Manifest, ManifestError};
use crate::io::{Io, SeededBug};
use crate::layout::Layout;
use crate::recovery::Access;
use crate::segment::write_new_file;

/// What was found where a manifest should be.
#[derive(Debug)]
pub(crate) enum Found {
    /// A manifest.
    Manifest(Manifest),
    /// Neither copy is there: this is not a store.
    Nothing,
    /// A copy is there, written by a newer version.
    Newer(u32),
}

/// The manifest as it is on disk.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    io: Arc<dyn Io>,
    layout: Layout,
    manifest: Manifest,
}

impl ManifestFile {
    /// Reads the newest valid copy.
    ///
    /// A copy that is damaged is an error only where the other is no help: a crash while one is
    /// replaced leaves the other.
    ///
    /// Whoever is going to write gets what is durable, or made so here: the process before may have
    /// died between writing and syncing. With a copy that a power loss can still take back, the
    /// next change would overwrite the only other one.
    pub(crate) fn read(
        io: &Arc<dyn Io>,
        layout: &Layout,
        access: Access,
    ) -> Result<Found, DiskError> {
        let mut newest: Option<Manifest> = None;
        let mut newer_version = None;
        let mut damage = None;
        for path in layout.manifests() {
            let Some(bytes) = read_file(io, &path, access)? else { continue };
            match Manifest::decode(&bytes) {
                Ok(manifest) => {
                    if newest.as_ref().is_none_or(|own| own.generation < manifest.generation) {
                        newest = Some(manifest);
                    }
                }
                Err(ManifestError::Newer(version)) => newer_version = Some(version),
                Err(ManifestError::Damaged(reason)) => {
                    damage = Some(DiskError::corrupt(&path, 0, reason));
                }
            }
        }
        if access == Access::Write && newest.is_some() {
            let root = layout.root();
            io.sync_dir(root).map_err(DiskError::io("sync", root))?;
        }
        match (newer_version, newest, damage) {
            (Some(version), ..) => Ok(Found::Newer(version)),
            (None, Some(manifest), _) => Ok(Found::Manifest(manifest)),
            (None, None, Some(damage)) => Err(damage),
            (None, None, None) => Ok(Found::Nothing),
        }
    }

    pub(crate) fn new(io: Arc<dyn Io>, layout: Layout, manifest: Manifest) -> Self {
        Self { io, layout, manifest }
    }

    /// Makes the other copy again where it is damaged or missing: a crash while this one is replaced
    /// would leave nothing.
    pub(crate) fn mend(&mut self) -> Result<(), DiskError> {
        let path = self.path_of(self.manifest.generation + 1);
        let is_whole = match read_file(&self.io, &path, Access::Write) {
            Ok(Some(bytes)) => Manifest::decode(&bytes).is_ok(),
            Ok(None) => self.manifest.generation <= 1,
            Err(_) => false,
        };
        if is_whole { Ok(()) } else { self.change(|_| {}) }
    }

    pub(crate) fn get(&self) -> &Manifest {
        &self.manifest
    }

    /// Changes the manifest; on `Ok` the change is durable.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Manifest)) -> Result<(), DiskError> {
        let mut manifest = self.manifest.clone();
        change(&mut manifest);
        manifest.generation += 1;
        self.write(&manifest)?;
        self.manifest = manifest;
        Ok(())
    }

    fn path_of(&self, generation: u64) -> PathBuf {
        let [even, odd] = self.layout.manifests();
        if generation.is_multiple_of(2) { even } else { odd }
    }

    fn write(&self, manifest: &Manifest) -> Result<(), DiskError> {
        let path = self.path_of(manifest.generation);
        let file = match self.io.open_writable(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return self.write_new(&path, manifest);
            }
            Err(error) => return Err(DiskError::io("open", &path)(error)),
        };
        if self.io.has_bug(SeededBug::OverwriteBothManifests) {
            for other in self.layout.manifests() {
                if let Ok(other) = self.io.open_writable(&other) {
                    other.write_at(&manifest.encode(), 0).map_err(DiskError::io("write", &path))?;
                }
            }
        }
        file.write_at(&manifest.encode(), 0).map_err(DiskError::io("write", &path))?;
        file.sync().map_err(DiskError::io("sync", &path))
    }

    /// Writes a copy that is not there yet. It gets its name when it is whole: a crash in between
    /// must not leave a directory with nothing but a torn manifest, which would not open.
    fn write_new(&self, path: &Path, manifest: &Manifest) -> Result<(), DiskError> {
        let temporary = self.layout.new_manifest();
        write_new_file(&*self.io, &temporary, &manifest.encode())?;
        self.io.rename(&temporary, path).map_err(DiskError::io("rename", &temporary))?;
        // A new file's name is durable only once its directory is synced: without this, a crash
        // could leave a store without a manifest.
        let root = self.layout.root();
        self.io.sync_dir(root).map_err(DiskError::io("sync", root))
    }
}

fn read_file(io: &Arc<dyn Io>, path: &Path, access: Access) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match io.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io("open", path)(error)),
    };
    if access == Access::Write {
        // The system's memory may show what a failed sync gave up.
        file.forget(0).map_err(DiskError::io("read", path))?;
        file.sync().map_err(DiskError::io("sync", path))?;
    }
    let size = file.size().map_err(DiskError::io("read", path))?;
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(MANIFEST_SIZE_MAX);
    let mut bytes = vec![0; size];
    file.read_at(&mut bytes, 0).map_err(DiskError::io("read", path))?;
    Ok(Some(bytes))
}
