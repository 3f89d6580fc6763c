//! The documents say what the code does.

use std::{collections::BTreeMap, fs, path::Path};

use clap::CommandFactory as _;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// The variables of a program with their defaults, as its code has them.
fn settings(program: &clap::Command) -> BTreeMap<String, String> {
    program
        .get_arguments()
        .filter_map(|argument| {
            let variable = argument.get_env()?.to_str()?.to_owned();
            let default = argument.get_default_values().first();
            Some((
                variable,
                default
                    .map_or("", |value| value.to_str().unwrap())
                    .to_owned(),
            ))
        })
        .collect()
}

/// The rows of the settings table that follows the line with the program's name.
fn documented(reference: &str, program: &str) -> BTreeMap<String, String> {
    reference
        .lines()
        .skip_while(|line| *line != format!("`{program}`:"))
        .skip(1)
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with('|'))
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
            let cell = cells.nth(1).unwrap().to_owned();
            (cell, cells.next().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn the_settings_tables_of_the_reference_are_those_of_the_code() {
    let reference = read("docs/reference.md");
    for (program, command) in [
        (
            "persistence-service",
            persistence_service::config::Config::command(),
        ),
        ("edge-gateway", edge_gateway::config::Config::command()),
    ] {
        assert_eq!(
            documented(&reference, program),
            settings(&command),
            "{program}"
        );
    }
}

#[test]
fn the_example_environment_names_every_setting() {
    let example = read(".env.example");
    for command in [
        persistence_service::config::Config::command(),
        edge_gateway::config::Config::command(),
    ] {
        for (variable, default) in settings(&command) {
            let line = format!("#{variable}={default}");
            assert!(
                example
                    .lines()
                    .any(|l| l == line || (default.is_empty() && l.starts_with(&line))),
                "{line}"
            );
        }
    }
}
