//! Puts the web client into the gateway: a table of the files in `web/dist`, which the web
//! build fills, or, where it is empty, of the small page in `static`, so that a build
//! without Node serves a page too.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    env,
    fmt::Write as _,
    fs,
    hash::{Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let built = root.join("web/dist");
    let small = root.join("static");
    // Both folders are in the repository, so that Cargo notices what comes and goes in them.
    for folder in [&built, &small] {
        println!("cargo:rerun-if-changed={}", folder.display());
    }
    println!("cargo:rerun-if-changed=build.rs");

    let is_built = built.join("index.html").is_file();
    let folder = if is_built { &built } else { &small };
    let mut files = BTreeMap::new();
    collect(folder, "", &mut files)?;
    let table = table(is_built, &files)?;
    fs::write(Path::new(&variable("OUT_DIR")).join("pages.rs"), table)
}

/// What Cargo says to a build script.
#[expect(
    clippy::expect_used,
    reason = "Cargo sets it, or this is no build script"
)]
fn variable(name: &str) -> String {
    env::var_os(name)
        .and_then(|value| value.into_string().ok())
        .expect("Cargo sets it")
}

/// All files below a folder, by their path in the address; hidden ones are left out.
fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}/{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else {
            files.insert(path, entry.path());
        }
    }
    Ok(())
}

/// The table as Rust: each file with its compressed forms beside it.
fn table(is_built: bool, files: &BTreeMap<String, PathBuf>) -> io::Result<String> {
    let mut table = String::from("&[\n");
    for (path, file) in files {
        if path.ends_with(".br") || path.ends_with(".gz") {
            continue;
        }
        let mut hash = DefaultHasher::new();
        fs::read(file)?.hash(&mut hash);
        // Its content names it: built files carry a hash, fonts stand below a version.
        let is_immutable =
            is_built && (path.starts_with("/assets/") || path.starts_with("/excalidraw/"));
        let form = |extension: &str| {
            files.get(&format!("{path}{extension}")).map_or_else(
                || "None".to_owned(),
                |file| format!("Some({})", bytes(file)),
            )
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "    File {{ path: {path:?}, content_type: {:?}, is_immutable: {is_immutable}, \
             etag: {:?}, plain: {}, gzip: {}, brotli: {} }},",
            content_type(path),
            format!("W/\"{:016x}\"", hash.finish()),
            bytes(file),
            form(".gz"),
            form(".br"),
        );
    }
    table.push_str("]\n");
    Ok(table)
}

fn bytes(file: &Path) -> String {
    format!("include_bytes!({:?})", file.display().to_string())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
