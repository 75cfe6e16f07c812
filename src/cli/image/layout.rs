//! The archive: an OCI image layout (opencontainers/image-spec 1.1), and the `manifest.json` of `docker save` beside it, which older versions of
//! `docker load` read.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A blob, which its digest names.
struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = digest(&bytes);
        Self { digest, bytes }
    }

    fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        let digest = format!("sha256:{}", self.digest);
        json!({"mediaType": media_type, "digest": digest, "size": self.bytes.len()})
    }
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The image of this name, with this configuration and this one layer.
pub fn archive(name: &str, mut config: Value, layer: &[u8]) -> Result<Vec<u8>> {
    let diff = format!("sha256:{}", digest(layer));
    config["rootfs"] = json!({"type": "layers", "diff_ids": [diff]});
    config["history"] = json!([{"created_by": "ringmq image"}]);
    let layer = Blob::new(compressed(layer)?);
    let config = Blob::json(&config);
    let manifest = Blob::json(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER)],
    }));
    let mut named = manifest.descriptor(MANIFEST);
    named["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [named]});
    let of_docker = json!([{
        "Config": config.path(),
        "RepoTags": [name],
        "Layers": [layer.path()],
    }]);

    let mut tar = Builder::new(Vec::new());
    let version = json!({"imageLayoutVersion": "1.0.0"});
    for dir in ["blobs/", "blobs/sha256/"] {
        let mut header = header(0o755, 0);
        header.set_entry_type(EntryType::Directory);
        tar.append_data(&mut header, dir, &[][..])?;
    }
    for blob in [&config, &layer, &manifest] {
        put(&mut tar, &blob.path(), &blob.bytes)?;
    }
    for (path, value) in [
        ("index.json", index),
        ("manifest.json", of_docker),
        ("oci-layout", version),
    ] {
        put(&mut tar, path, value.to_string().as_bytes())?;
    }
    Ok(tar.into_inner()?)
}

fn put(tar: &mut Builder<Vec<u8>>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = header(0o644, bytes.len());
    tar.append_data(&mut header, path, bytes)?;
    Ok(())
}

fn header(mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

/// Without a name and a time.
fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}
