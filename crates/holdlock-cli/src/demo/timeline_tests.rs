//! What the cells, rows and lines of the timeline look like.

use super::*;
use crate::demo::verdict::Section;

fn half(locked: bool, lanes: &[&[(Range<u64>, Doing)]], overlap: Option<Range<u64>>) -> Half {
    let lane = |(worker, spans): (u32, &&[(Range<u64>, Doing)])| Lane {
        run: 1,
        worker,
        spans: spans.to_vec(),
    };
    Half {
        locked,
        run: 1,
        time: 1000..2000,
        events: vec![],
        lanes: (1..).zip(lanes).map(lane).collect(),
        sections: Vec::<Section>::new(),
        overlaps: overlap.into_iter().collect(),
    }
}

const PLAIN: Canvas = Canvas {
    width: 31,
    unicode: false,
    colour: false,
};

fn rows(half: &Half, canvas: &Canvas) -> Vec<String> {
    draw(half, canvas)
        .lines()
        .take(half.lanes.len())
        .map(str::to_owned)
        .collect()
}

#[test]
fn cells_show_waiting_section_holding_and_idle() {
    let lane = [
        (1100..1300, Doing::Waiting),
        (1300..1600, Doing::InSection),
        (1600..1900, Doing::Holding),
    ];
    let half = half(true, &[&lane], None);
    assert_eq!(rows(&half, &PLAIN), ["worker 1    ....######======  "]);
    let unicode = Canvas {
        unicode: true,
        ..PLAIN
    };
    assert_eq!(rows(&half, &unicode), ["worker 1  ··░░░░██████━━━━━━··"]);
}

#[test]
fn overlaps_stand_out_in_each_row() {
    let one = [(1000..1500, Doing::InSection)];
    let two = [(1400..1800, Doing::InSection)];
    let half = half(false, &[&one, &two], Some(1400..1500));
    assert_eq!(
        rows(&half, &PLAIN),
        [
            "worker 1  ########XX          ",
            "worker 2          XX######    "
        ]
    );
}

#[test]
fn short_sections_and_overlaps_are_not_lost() {
    let one = [
        (1010..1012, Doing::InSection),
        (1520..1522, Doing::InSection),
    ];
    let half = half(false, &[&one], Some(1521..1522));
    assert_eq!(rows(&half, &PLAIN), ["worker 1  #         X         "]);
}

#[test]
fn other_demos_are_labelled_and_no_line_is_too_wide() {
    let span = [(1000..2000, Doing::InSection)];
    let mut half = half(true, &[&span, &span], None);
    half.lanes[1].run = 4321;
    let canvas = Canvas { width: 60, ..PLAIN };
    let text = draw(&half, &canvas);
    assert!(text.contains("\n4321 worker 2  #"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 60), "{text}");
}

#[test]
fn colour_only_where_wanted() {
    let half = half(false, &[&[(1000..2000, Doing::InSection)]], None);
    assert!(!draw(&half, &PLAIN).contains('\x1b'));
    assert!(
        draw(
            &half,
            &Canvas {
                colour: true,
                ..PLAIN
            }
        )
        .contains('\x1b')
    );
}
