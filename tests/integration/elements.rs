//! What is taken as the JSON of an element.

use persistence_service::domain::ElementChange;
use proptest::{
    collection::vec,
    prelude::any,
    sample::{Index, select},
    test_runner::TestCaseError,
};
use roomkeeper_tests::always;
use serde_json::value::RawValue;

/// Elements with every kind of JSON inside.
const ELEMENTS: [&str; 3] = [
    r#"{"id":"a","type":"text","version":1,"versionNonce":2,"x":-1.5e+3,"text":"\u00e9\n\"","mine":[true,false,null,{}]}"#,
    r#"{"id":"b","type":"freedraw","version":3,"versionNonce":0,"points":[[0,0],[1.25,-2E-2,0.5]],"isDeleted":false}"#,
    r#" { "type" : "arrow" , "boundElements" : [ { "id" : "c" , "type" : "text" } ] , "id" : "é" , "version" : 0 , "versionNonce" : 10 } "#,
];

/// What the grammar of JSON is about.
const BYTES: [&str; 26] = [
    "{", "}", "[", "]", "\"", ":", ",", "\\", "u", "0", "1", "9", "-", "+", ".", "e", "E", "t",
    "n", "true", "null", " ", "\n", "\u{1}", "é", "a",
];

#[test]
fn an_element_is_json_exactly_where_another_parser_says_so() {
    let change = (any::<Index>(), select(BYTES.to_vec()), any::<bool>());
    let changes = (select(ELEMENTS.to_vec()), vec(change, 0..4));
    always(20_000, changes, |(element, changes)| {
        let mut json = element.to_owned();
        for (at, with, replace) in changes {
            let starts: Vec<usize> = json.char_indices().map(|(start, _)| start).collect();
            let start = *at.get(&starts);
            let end = start + json[start..].chars().next().map_or(0, char::len_utf8);
            json.replace_range(start..if replace { end } else { start }, with);
        }
        let is_json = serde_json::from_str::<&RawValue>(&json).is_ok();
        let parsed = ElementChange::parse("e", &json).map_err(|bad| bad.into_invalid().problem);
        let says_so = match &parsed {
            Ok(_) => true,
            // Of what is no object only the beginning is looked at.
            Err(problem) if problem == "must be an object" => return Ok(()),
            Err(problem) => problem != "must be JSON",
        };
        if says_so == is_json {
            Ok(())
        } else {
            Err(TestCaseError::fail(format!("{json}: {parsed:?}")))
        }
    });
}
