//! Writes what was measured into docs/performance.md, between the marks of its part.

use std::{fs, path::PathBuf};

/// A file of docs/.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

/// Replaces what stands between `<!-- part -->` and `<!-- /part -->`.
pub(crate) fn replace(part: &str, text: &str) {
    let path = path("performance.md");
    let document = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- /{part} -->"));
    let (before, rest) = document.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    fs::write(
        &path,
        format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()),
    )
    .unwrap();
}
