//! The graph in the language of graphviz.

use std::fmt::Write;

use super::model::{Graph, Node, Relation};
use super::text::described;
use crate::show::text;

/// The whole graph.
pub(super) fn draw(graph: &Graph<'_>) -> String {
    let mut dot = String::from(
        "digraph locks {\n  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=11];\n  \
         edge [fontname=\"sans-serif\", fontsize=9];\n",
    );
    for (number, node) in graph.nodes.iter().enumerate() {
        let (shape, name) = match node {
            Node::Process(process) => ("ellipse", text::process(process)),
            Node::File(file) => ("box", text::file(file)),
            Node::Unseen => ("ellipse", "cannot be seen".into()),
        };
        let red = match graph.cycle_of(number) {
            Some(cycle) if graph.cycles[cycle].certain => ", color=red, penwidth=2",
            Some(_) => ", color=red",
            None => "",
        };
        let name = quoted(&name);
        let _ = writeln!(dot, "  n{number} [shape={shape}, label={name}{red}];");
    }
    for edge in &graph.edges {
        let (style, label) = match edge.relation {
            Relation::Waits { request, turn } => {
                ("dashed", format!("waits {turn}: {}", described(request)))
            }
            Relation::Holds(request) => ("solid", format!("held: {}", described(request))),
            Relation::Ends => ("dotted", "waits for its end".to_owned()),
        };
        let red = if edge.cycle.is_some() {
            ", color=red, penwidth=2"
        } else {
            ""
        };
        let label = quoted(&label);
        let (from, to) = (edge.from, edge.to);
        let _ = writeln!(
            dot,
            "  n{from} -> n{to} [style={style}, label={label}{red}];"
        );
    }
    dot.push_str("}\n");
    dot
}

/// A label. Graphviz interprets escapes and, like HTML, entities in it.
fn quoted(text: &str) -> String {
    let text = text::printable(text).replace('\\', "\\\\");
    let text = text.replace('"', "\\\"").replace('&', "&amp;");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_the_quotes() {
        assert_eq!(quoted(r#"a"b\"#), r#""a\"b\\""#);
        assert_eq!(quoted("\x1b&#27;\n"), r#""\\u{1b}&amp;#27;\\n""#);
    }
}
