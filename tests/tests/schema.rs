//! `docs/schema`: the JSON that scripts may rely on. A change that breaks them is seen here first.

use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use cryprq_ipc_proto::error::ErrorBody;
use cryprq_ipc_proto::limits::{SCHEMA, VERSION};
use cryprq_ipc_proto::message::{Event, Reply, Request};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A line that a caller writes. Unknown keys are refused, so the line's own keys stand in every case.
fn request() -> Value {
    let mut generator = SchemaSettings::default().into_generator();
    let line = generator.subschema_for::<Request>();
    let mut types = Value::Object(generator.take_definitions(true));
    for case in types["Request"]["oneOf"].as_array_mut().expect("an enum") {
        case["properties"]["v"] = json!({ "description": "The version of requests.", "const": VERSION });
        case["properties"]["id"] = json!({ "description": "Anything; the answer repeats it." });
    }
    json!({
        "$schema": DIALECT, "title": "A request line to cryprqd", "allOf": [line], "$defs": types,
    })
}

/// A line that the daemon writes: a `T` or a refusal. It may hold more than this in a later version.
fn answer<T: JsonSchema>(title: &str) -> Value {
    let mut generator = SchemaSettings::default().for_serialize().into_generator();
    let (line, error) = (generator.subschema_for::<T>(), generator.subschema_for::<ErrorBody>());
    let refusal = json!({
        "description": "A refusal.", "type": "object", "properties": { "error": error }, "required": ["error"],
    });
    json!({
        "$schema": DIALECT, "title": title, "type": "object",
        "properties": {
            "schema": { "description": "The version of answers.", "const": SCHEMA },
            "id": { "description": "The id of the request; over HTTP there is none." },
        },
        "required": ["schema"], "oneOf": [line, refusal], "$defs": generator.take_definitions(true),
    })
}

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

fn schemas() -> [(&'static str, Value); 3] {
    [
        ("request", request()),
        ("reply", answer::<Reply>("An answer line of cryprqd")),
        ("event", answer::<Event>("A line of a watch of cryprqd")),
    ]
}

/// With `UPDATE_SCHEMA=1` it writes them instead. What a released schema accepts of answers, and what it lets scripts
/// ask, stays so within its version.
#[test]
fn the_published_schemas_are_those_of_the_types() {
    let folder = root().join("docs/schema");
    for (name, schema) in schemas() {
        let file = folder.join(format!("{name}.json"));
        let made = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&file, &made).expect("docs/schema can be written");
        }
        let published = std::fs::read_to_string(&file).expect("docs/schema holds it");
        assert!(published == made, "{name}.json is another: see UPDATE_SCHEMA, and ipc.md on what may change");
    }
}

/// The meaning of each vector of a kind.
fn vectors(kind: &str) -> Vec<(String, Value)> {
    let folder = root().join("ipc-proto/vectors");
    let files = std::fs::read_dir(folder).expect("the vectors").map(|entry| entry.expect("a file").path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    let read = |file: PathBuf| {
        let vector: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
        (file.display().to_string(), vector)
    };
    let vectors = files.map(read).filter(|(_, vector)| vector["kind"] == kind);
    vectors.map(|(name, vector)| (name, vector["body"].clone())).collect()
}

#[test]
fn every_message_fits_its_schema_and_what_is_none_does_not() {
    let (mut known, mut compiler) = (Schemas::new(), Compiler::new());
    let [request, reply, event] = schemas().map(|(name, schema)| {
        compiler.add_resource(name, schema).expect("JSON");
        compiler.compile(name, &mut known).expect("a schema")
    });
    let is_valid = |schema: SchemaIndex, line: &Value| known.validate(line, schema).is_ok();
    let fits = |schema: SchemaIndex, name: &str, line: &Value| {
        if let Err(error) = known.validate(line, schema) {
            panic!("{name}: {error}");
        }
    };
    let mut seen = 0;
    for (name, mut line) in vectors("request") {
        fits(request, &name, &line);
        line["v"] = VERSION.into();
        line["id"] = json!({ "any": "thing" });
        fits(request, &name, &line);
        line["another"] = true.into();
        assert!(!is_valid(request, &line), "{name} with a key too many");
        seen += 1;
    }
    for (kind, schema) in [("reply", reply), ("event", event)] {
        for (name, mut line) in vectors(kind) {
            assert!(!is_valid(schema, &line), "{name} without its schema");
            line["schema"] = SCHEMA.into();
            fits(schema, &name, &line);
            line["another"] = true.into();
            fits(schema, &name, &line);
            line[kind] = "unheard of".into();
            assert!(!is_valid(schema, &line), "{name} of another kind");
            seen += 1;
        }
        for (name, error) in vectors("error") {
            fits(schema, &name, &json!({ "schema": SCHEMA, "id": null, "error": error }));
            let unknown = json!({ "schema": SCHEMA, "error": { "code": "unheard_of", "message": "" } });
            assert!(!is_valid(schema, &unknown), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 80, "only {seen} messages");
}
