//! The positions of the nodes on the picture.

use super::layers::{Layers, Spot};

/// The distance between the middles of two columns.
pub(super) const COLUMN: f64 = 300.0;

/// How often each column is pulled to its neighbours.
const PULLS: usize = 16;

/// The middle of each spot.
pub(super) struct Layout {
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Puts each spot as near to its neighbours as the spots above and below allow.
pub(super) fn layout(layers: &Layers, height: impl Fn(Spot) -> f64) -> Layout {
    let mut x = vec![0.0; layers.spots];
    let mut y = vec![0.0; layers.spots];
    for (number, column) in layers.columns.iter().enumerate() {
        let mut bottom = 0.0;
        for spot in column {
            x[*spot] = (number as f64 + 0.5) * COLUMN;
            y[*spot] = bottom + height(*spot) / 2.0;
            bottom += height(*spot);
        }
    }
    let mut neighbours = vec![Vec::new(); layers.spots];
    for &(left, right) in &layers.lines {
        neighbours[left].push(right);
        neighbours[right].push(left);
    }
    for pull in 0..PULLS {
        let count = layers.columns.len();
        for step in 0..count {
            let at = if pull % 2 == 0 {
                count - 1 - step
            } else {
                step
            };
            settle(&layers.columns[at], &neighbours, &mut y, &height);
        }
    }
    let top = |spot: Spot| y[spot] - height(spot) / 2.0;
    let highest = (0..layers.spots).map(top).fold(f64::INFINITY, f64::min);
    let highest = if highest.is_finite() { highest } else { 0.0 };
    let bottom = |spot: Spot| y[spot] + height(spot) / 2.0;
    let lowest = (0..layers.spots).map(bottom).fold(highest, f64::max);
    y.iter_mut().for_each(|y| *y -= highest);
    Layout {
        x,
        y,
        width: layers.columns.len() as f64 * COLUMN,
        height: lowest - highest,
    }
}

/// Keeps order and distance, and moves each spot halfway between the results of pushing downwards
/// and of pushing upwards.
fn settle(column: &[Spot], neighbours: &[Vec<Spot>], y: &mut [f64], height: &impl Fn(Spot) -> f64) {
    let wish = |spot: Spot, y: &[f64]| {
        let beside = &neighbours[spot];
        let sum: f64 = beside.iter().map(|other| y[*other]).sum();
        if beside.is_empty() {
            y[spot]
        } else {
            sum / beside.len() as f64
        }
    };
    let wishes: Vec<f64> = column.iter().map(|spot| wish(*spot, y)).collect();
    let apart = |at: usize| (height(column[at]) + height(column[at + 1])) / 2.0;
    let (mut down, mut up) = (wishes.clone(), wishes);
    for at in 1..column.len() {
        down[at] = down[at].max(down[at - 1] + apart(at - 1));
    }
    for at in (1..column.len()).rev() {
        up[at - 1] = up[at - 1].min(up[at] - apart(at - 1));
    }
    for (at, spot) in column.iter().enumerate() {
        y[*spot] = (down[at] + up[at]) / 2.0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers::layers;
    use super::*;

    #[test]
    fn nothing_overlaps_and_a_lock_is_beside_the_middle_of_its_waiters() {
        let edges: Vec<(usize, usize)> = (1..6).map(|waiter| (waiter, 0)).collect();
        let layers = layers(6, &edges);
        let layout = layout(&layers, |_| 40.0);
        let mut waiters: Vec<f64> = layout.y[1..].to_vec();
        waiters.sort_by(f64::total_cmp);
        assert!(waiters.windows(2).all(|pair| pair[1] - pair[0] >= 39.9));
        assert!((layout.y[0] - waiters[2]).abs() < 1.0);
        assert!((layout.height - 200.0).abs() < 1.0, "{}", layout.height);
        assert!(layout.x[0] > layout.x[1]);
    }
}
