//! The manifest's two files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DiskError;
use crate::format::manifest::{MANIFEST_SIZE_MAX, Manifest, ManifestError};
use crate::io::{Io, SeededBug};
use crate::layout::Layout;

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
    pub(crate) fn read(io: &Arc<dyn Io>, layout: &Layout) -> Result<Found, DiskError> {
        let mut newest: Option<Manifest> = None;
        let mut newer_version = None;
        let mut damage = None;
        for path in layout.manifests() {
            let Some(bytes) = read_file(io, &path)? else { continue };
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
        let is_whole = match read_file(&self.io, &path) {
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
        let (file, is_new) = match self.io.open_writable(&path) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                (self.io.create(&path).map_err(DiskError::io("create", &path))?, true)
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
        file.sync().map_err(DiskError::io("sync", &path))?;
        if is_new {
            // A new file's name is durable only once its directory is synced: without this, a
            // crash could leave a store without a manifest.
            let root = self.layout.root();
            self.io.sync_dir(root).map_err(DiskError::io("sync", root))?;
        }
        Ok(())
    }
}

fn read_file(io: &Arc<dyn Io>, path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match io.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io("open", path)(error)),
    };
    let size = file.size().map_err(DiskError::io("read", path))?;
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(MANIFEST_SIZE_MAX);
    let mut bytes = vec![0; size];
    file.read_at(&mut bytes, 0).map_err(DiskError::io("read", path))?;
    Ok(Some(bytes))
}
