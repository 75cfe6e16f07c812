//! The running binary as an image needs it: without the tables for debuggers, with the libraries that it loads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::elf::{FileHeader64, PT_INTERP, SHN_UNDEF};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, pod};

/// Files by their paths.
pub type Files = Vec<(PathBuf, Vec<u8>)>;

/// The binary of this process, without its symbols and line tables.
pub fn stripped() -> Result<Vec<u8>> {
    let binary = own_binary()?;
    strip(&binary).context("the binary cannot be stripped")
}

fn own_binary() -> Result<Vec<u8>> {
    fs::read("/proc/self/exe").context("the binary of this process cannot be read")
}

/// A kernel and a dynamic loader read the segments of a program. The sections that are in none, which the linker puts behind them, are for debuggers, and
/// so is the table of the sections.
fn strip(binary: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(binary)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, binary)?.iter();
    let ends = segments.map(|segment| segment.p_offset(endian) + segment.p_filesz(endian));
    let end = ends.max().context("it has no segments")? as usize;
    let mut stripped = binary.get(..end).context("it is cut off")?.to_vec();
    let header = pod::from_bytes_mut::<FileHeader64<Endianness>>(&mut stripped);
    let (header, _) = header.ok().context("it has no header")?;
    header.e_shoff.set(endian, 0);
    header.e_shnum.set(endian, 0);
    header.e_shstrndx.set(endian, SHN_UNDEF);
    Ok(stripped)
}

/// The dynamic loader and the libraries that it loads for this process; none for a static binary.
pub fn libraries() -> Result<Files> {
    let binary = own_binary()?;
    let Some(loader) = loader(&binary)? else {
        return Ok(Vec::new());
    };
    let exe = std::env::current_exe()?;
    let listed = Command::new(&loader).arg("--list").arg(exe).output();
    let listed = listed.with_context(|| format!("cannot run {}", loader.display()))?;
    let text = String::from_utf8_lossy(&listed.stdout);
    if !listed.status.success() {
        bail!("{} --list: {text}", loader.display());
    }
    let mut paths: Vec<PathBuf> = text.lines().filter_map(library).collect();
    paths.extend(for_names(&paths));
    paths.push(loader);
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((path, bytes))
    };
    paths.into_iter().map(read).collect()
}

/// A line of the loader's list: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)`.
fn library(line: &str) -> Option<PathBuf> {
    let (_, path) = line.split_once(" => ")?;
    let (path, _) = path.rsplit_once(" (")?;
    Some(PathBuf::from(path))
}

/// What a glibc before 2.34 loads to resolve a host's name.
fn for_names(libraries: &[PathBuf]) -> Vec<PathBuf> {
    let libc = libraries.iter().find(|path| path.ends_with("libc.so.6"));
    let folder = libc.and_then(|path| path.parent()).map(Path::to_owned);
    let names = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];
    let paths = folder
        .into_iter()
        .flat_map(|folder| names.map(|name| folder.join(name)));
    paths.filter(|path| path.exists()).collect()
}

/// The dynamic loader that the binary names.
fn loader(binary: &[u8]) -> Result<Option<PathBuf>> {
    let header = FileHeader64::<Endianness>::parse(binary)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, binary)?;
    for segment in segments {
        if segment.p_type(endian) == PT_INTERP {
            let text = segment.data(endian, binary).ok().unwrap_or_default();
            let text = std::str::from_utf8(text)?.trim_end_matches('\0');
            return Ok(Some(PathBuf::from(text)));
        }
    }
    Ok(None)
}
