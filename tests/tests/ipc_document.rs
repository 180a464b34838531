//! What `docs/ipc.md` says of verbs and errors is what the tables of `ipc-proto` hold.

use cryprq_ipc_proto::error::ErrorCode;
use cryprq_ipc_proto::verb::VERBS;

const DOCUMENT: &str = include_str!("../../docs/ipc.md");

#[test]
fn the_document_lists_each_verb_with_its_command_routes_and_tier() {
    let mut table = String::from("| `cmd` | command | HTTP | tier |\n|---|---|---|---|\n");
    for verb in VERBS {
        let routes = verb.routes.iter().map(|route| format!("`{} {}`", route.method.name(), route.path));
        let routes = routes.collect::<Vec<_>>().join(", ");
        table += &format!("| `{}` | `{}` | {routes} | {} |\n", verb.name, verb.command, verb.tier.name());
    }
    assert!(DOCUMENT.contains(&table), "docs/ipc.md has another table than this:\n{table}");
}

#[test]
fn the_document_lists_each_error_code_with_its_http_status() {
    for code in ErrorCode::ALL {
        let row = DOCUMENT.lines().find(|line| line.starts_with(&format!("| {} |", code.http_status())));
        assert!(row.is_some_and(|row| row.contains(code.name())), "{} has no row in docs/ipc.md", code.name());
    }
}
