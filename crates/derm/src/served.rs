//! The model that is served: its files, held open, and what is made of them.

use crate::lazy::{AcquireError, Lazy, Lease};
use crate::loaded::Loaded;
use crate::{Checked, Digest, Footprint, Manifest, Reload};
use derm_model::{EngineOptions, Error, ModelSource, OpenModel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Limit on loading a model that nobody waits for.
const LONG: Duration = Duration::from_secs(3600);

/// Graph, manifest, footprint and digest of one model. Another model, or another version of it, is
/// another value.
#[derive(Debug)]
pub(crate) struct Served {
    model: Arc<OpenModel>,
    footprint: Arc<OnceLock<Footprint>>,
    digest: Arc<OnceLock<Digest>>,
    pub(crate) loaded: Lazy<Loaded, Error>,
}

impl Served {
    /// Opens the model's files; the first use loads it. The model stays in memory, beyond the uses
    /// that `reload` allows, while it could not be loaded again.
    pub(crate) fn open(
        source: &ModelSource,
        engine: &EngineOptions,
        reload: Option<Reload>,
    ) -> Result<Served, Error> {
        let model = source.open()?;
        let footprint = Arc::new(OnceLock::new());
        let digest = Arc::new(OnceLock::new());
        let (known, named) = (Arc::clone(&footprint), Arc::clone(&digest));
        let (opened, engine) = (Arc::clone(&model), engine.clone());
        let load = move || {
            let loaded = Loaded::load(&opened, &engine)?;
            known.get_or_init(|| loaded.footprint());
            named.get_or_init(|| loaded.digest());
            Ok(loaded)
        };
        let held = Arc::clone(&model);
        let uses = move || reload.map(Reload::draw);
        let loaded = Lazy::new(load, uses, move || held.is_intact());
        Ok(Served { model, footprint, digest, loaded })
    }

    /// Its manifest.
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        self.model.manifest()
    }

    /// Bytes of its files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.model.file_bytes()
    }

    /// Whether its paths led to other files when it was loaded last.
    pub(crate) fn is_superseded(&self) -> bool {
        self.model.is_superseded()
    }

    /// What it takes; known once it was loaded.
    pub(crate) fn footprint(&self) -> Option<Footprint> {
        self.footprint.get().copied()
    }

    /// Its digest; known once it was loaded.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.digest.get().copied()
    }

    pub(crate) fn acquire(
        &self,
        deadline: Instant,
    ) -> Result<Lease<'_, Loaded, Error>, AcquireError<Error>> {
        self.loaded.acquire(deadline)
    }

    /// Loads it and runs it once, on an input of zeros, whose scores must be what the manifest says.
    pub(crate) fn check(&self) -> Result<Checked, crate::Error> {
        let start = Instant::now();
        let loaded = self.acquire(start + LONG)?;
        let load = start.elapsed();
        let start = Instant::now();
        let base = loaded.base();
        let scores = base.run(|input| input.fill(0.0))?.scores.clone();
        if let Some(reason) = self.manifest().contradiction(&scores) {
            return Err(Error::Mismatch(reason).into());
        }
        let infer = start.elapsed();
        let (footprint, unexplained) = (loaded.footprint(), base.why_not().cloned());
        let digest: Digest = loaded.digest();
        let notes = loaded.notes().to_vec();
        let (operators, unverified) = (base.plan().operators(), base.plan().unverified().to_vec());
        Ok(Checked { load, infer, footprint, unexplained, notes, digest, operators, unverified })
    }
}
