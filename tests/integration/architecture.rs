//! The modules of each crate depend on each other in one direction. ARCHITECTURE.md names
//! the layers; this reads every `use` and every path that begins with `crate::`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The layers of a crate, the upper first. A module may use those of lower layers, and no
/// other of its own layer.
const GATEWAY: &[&[&str]] = &[
    &["main", "lib"],
    &["app", "hot_paths"],
    &["http", "socket"],
    &["feed"],
    &["server"],
    &["delivery", "persistence"],
    &["contract", "config"],
    &["values"],
    &["error"],
];

const SERVICE: &[&[&str]] = &[
    &["main", "lib"],
    &["app", "hot_paths"],
    &["grpc"],
    &["rooms", "feed", "config"],
    &["repository"],
    &["domain"],
];

/// An arrow from one top-level module to another.
type Arrow = (String, String);

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Source text without its comments. A `//` in a string cuts its line, which hides no path.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first names of what follows `crate::`: one, or those of a list in braces.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(list) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut names, mut depth, mut item) = (Vec::new(), 0, String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(&std::mem::take(&mut item)));
                continue;
            }
            _ => {}
        }
        item.push(c);
    }
    names.push(name(&item));
    names.retain(|name| !name.is_empty());
    names
}

/// All modules that a source text names from the root of its crate.
fn named_in(text: &str) -> BTreeSet<String> {
    let text = without_comments(text);
    text.match_indices("crate::")
        // `$crate::` of a macro and names that end in `crate` begin no path of this crate.
        .filter(|(at, _)| {
            !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$')
        })
        .flat_map(|(at, found)| first_names(&text[at + found.len()..]))
        .collect()
}

fn arrows(program: &str) -> BTreeSet<Arrow> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(program)
        .join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut arrows = BTreeSet::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap();
        let first = path.components().next().unwrap();
        let from = first.as_os_str().to_str().unwrap().trim_end_matches(".rs");
        for to in named_in(&fs::read_to_string(&file).unwrap()) {
            if to != from {
                arrows.insert((from.to_owned(), to));
            }
        }
    }
    arrows
}

/// The arrows that do not lead from a layer to a lower one.
fn wrong<'a>(arrows: &'a BTreeSet<Arrow>, layers: &[&[&str]]) -> Vec<&'a Arrow> {
    let layer = |module: &str| {
        layers
            .iter()
            .position(|modules| modules.contains(&module))
            .unwrap_or_else(|| panic!("{module} is in no layer"))
    };
    arrows
        .iter()
        .filter(|(from, to)| layer(from) >= layer(to))
        .collect()
}

#[test]
fn the_modules_of_the_gateway_depend_in_one_direction() {
    assert_eq!(
        wrong(&arrows("edge-gateway"), GATEWAY),
        Vec::<&Arrow>::new()
    );
}

#[test]
fn the_modules_of_the_service_depend_in_one_direction() {
    assert_eq!(
        wrong(&arrows("persistence-service"), SERVICE),
        Vec::<&Arrow>::new()
    );
}

#[test]
fn an_arrow_back_is_found_in_any_spelling() {
    for text in [
        "use crate::socket::Outbox;",
        "use crate::{\n    error::Error,\n    socket::{self, Outbox},\n    values,\n};",
        "pub(crate) use crate::{error::{Error, a::b}, socket};",
        "fn f(outbox: &crate::socket::Outbox) {}",
    ] {
        assert!(named_in(text).contains("socket"), "{text}");
    }
    for text in [
        "// use crate::socket::Outbox;",
        "use crate::{error::{socket::Outbox}, values};",
        "use socketioxide::socket::Socket;",
        "use crate::sockets::Outbox;",
    ] {
        assert!(!named_in(text).contains("socket"), "{text}");
    }

    let drawn = BTreeSet::from([("feed".to_owned(), "socket".to_owned())]);
    assert_eq!(wrong(&drawn, GATEWAY).len(), 1);
    let allowed = BTreeSet::from([("socket".to_owned(), "feed".to_owned())]);
    assert!(wrong(&allowed, GATEWAY).is_empty());
}
