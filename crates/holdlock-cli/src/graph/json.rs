//! The graph as a document.

use holdlock::inspect::Unseen;
use serde_json::{Value, json};

use super::model::{Edge, Graph, Node, Relation, Request};
use crate::show;

/// Nodes are named by their numbers.
pub(super) fn document(graph: &Graph<'_>, unseen: &[Unseen]) -> String {
    let nodes = graph.nodes.iter().enumerate();
    let cycles = graph.cycles.iter().map(|cycle| {
        let steps = cycle.steps.iter().map(|step| {
            json!({
                "waiter": step.waiter,
                "file": step.file,
                "holder": step.holder,
                "kind": step.kind.to_string(),
                "mode": step.mode.to_string(),
            })
        });
        json!({ "certain": cycle.certain, "steps": steps.collect::<Value>() })
    });
    let document = json!({
        "version": 1,
        "nodes": nodes.map(|(id, one)| node(id, one)).collect::<Value>(),
        "edges": graph.edges.iter().map(edge).collect::<Value>(),
        "deadlocks": cycles.collect::<Value>(),
        "unseen": show::json::unseen(unseen),
    });
    show::json::document(&document)
}

fn node(id: usize, node: &Node<'_>) -> Value {
    match node {
        Node::Process(process) => json!({
            "id": id,
            "type": "process",
            "process": show::json::process(process),
        }),
        Node::File(file) => json!({
            "id": id,
            "type": "file",
            "path": file.path.as_deref().map(show::json::path),
            "removed": file.removed,
            "place": show::json::file_id(file.file_id),
        }),
        Node::Unseen => json!({ "id": id, "type": "unseen" }),
    }
}

fn edge(edge: &Edge) -> Value {
    let (name, request, turn) = match edge.relation {
        Relation::Waits { request, turn } => ("waits", Some(request), Some(turn)),
        Relation::Holds(request) => ("holds", Some(request), None),
        Relation::Ends => ("ends", None, None),
    };
    let mut value = json!({
        "type": name,
        "from": edge.from,
        "to": edge.to,
        "deadlock": edge.cycle,
    });
    if let Some(Request {
        kind,
        mode,
        range,
        slot,
    }) = request
    {
        value["kind"] = kind.to_string().into();
        value["mode"] = mode.to_string().into();
        value["range"] = show::json::range(range);
        value["slot"] = slot.into();
    }
    if let Some(turn) = turn {
        value["turn"] = turn.into();
    }
    value
}
