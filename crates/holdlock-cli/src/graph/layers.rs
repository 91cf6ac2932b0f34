//! Puts the nodes into columns and orders them there, so that few lines cross.
//!
//! The method of Sugiyama, Tagawa and Toda: edges that close a cycle are reversed; each node goes
//! as far to the right as the nodes for which it waits allow; an edge over several columns gets a
//! spot in each of them; and each column is ordered by the positions of the neighbours.

/// A place in a column: a node, or a bend of a long edge.
pub(super) type Spot = usize;

/// Columns of spots. A spot below the number of nodes is a node.
pub(super) struct Layers {
    /// From left to right, each from top to bottom.
    pub(super) columns: Vec<Vec<Spot>>,
    /// For each edge the spots through which it goes, from its beginning to its end.
    pub(super) ways: Vec<Vec<Spot>>,
    /// Pairs of spots in neighbouring columns with a line between them, the left one first.
    pub(super) lines: Vec<(Spot, Spot)>,
    pub(super) spots: usize,
}

/// How often the columns are ordered, there and back.
const SWEEPS: usize = 12;

/// Lays out a graph with this number of nodes.
pub(super) fn layers(nodes: usize, edges: &[(usize, usize)]) -> Layers {
    let turned = cycle_closers(nodes, edges);
    let straight: Vec<(usize, usize)> = edges
        .iter()
        .zip(&turned)
        .map(|(&(from, to), turned)| if *turned { (to, from) } else { (from, to) })
        .collect();
    let column = columns_of(nodes, &straight);
    let last = column.iter().copied().max().unwrap_or(0);
    let mut columns = vec![Vec::new(); last + 1];
    for (node, column) in column.iter().enumerate() {
        columns[*column].push(node);
    }
    let mut spots = nodes;
    let mut lines = Vec::new();
    let mut ways = Vec::new();
    for (&(from, to), turned) in straight.iter().zip(&turned) {
        let mut way = vec![from];
        if from != to {
            for middle in &mut columns[column[from] + 1..column[to]] {
                middle.push(spots);
                way.push(spots);
                spots += 1;
            }
            way.push(to);
        }
        lines.extend(way.windows(2).map(|pair| (pair[0], pair[1])));
        if *turned {
            way.reverse();
        }
        ways.push(way);
    }
    let columns = ordered(columns, &lines, spots);
    Layers {
        columns,
        ways,
        lines,
        spots,
    }
}

/// The edges that close a cycle.
fn cycle_closers(nodes: usize, edges: &[(usize, usize)]) -> Vec<bool> {
    let mut leaving = vec![Vec::new(); nodes];
    for (number, (from, _)) in edges.iter().enumerate() {
        leaving[*from].push(number);
    }
    let mut closers = vec![false; edges.len()];
    let (mut entered, mut left) = (vec![false; nodes], vec![false; nodes]);
    for start in 0..nodes {
        // Not recursive, because chains may be long.
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.last_mut() {
            let at = *node;
            entered[at] = true;
            let Some(number) = leaving[at].get(*next).copied().filter(|_| !left[at]) else {
                left[at] = true;
                path.pop();
                continue;
            };
            *next += 1;
            let to = edges[number].1;
            if !entered[to] {
                path.push((to, 0));
            } else if !left[to] {
                closers[number] = true;
            }
        }
    }
    closers
}

/// The column of each node. Nodes that do not wait are at the right.
fn columns_of(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut height = vec![0; nodes];
    let mut waits_for = vec![0; nodes];
    let mut entering = vec![Vec::new(); nodes];
    for &(from, to) in edges.iter().filter(|(from, to)| from != to) {
        waits_for[from] += 1;
        entering[to].push(from);
    }
    let mut ready: Vec<usize> = (0..nodes).filter(|node| waits_for[*node] == 0).collect();
    while let Some(node) = ready.pop() {
        for from in &entering[node] {
            height[*from] = height[*from].max(height[node] + 1);
            waits_for[*from] -= 1;
            if waits_for[*from] == 0 {
                ready.push(*from);
            }
        }
    }
    let highest = height.iter().copied().max().unwrap_or(0);
    height.iter().map(|height| highest - height).collect()
}

/// The best order among those tried.
fn ordered(mut columns: Vec<Vec<Spot>>, lines: &[(Spot, Spot)], spots: usize) -> Vec<Vec<Spot>> {
    let (mut left, mut right) = (vec![Vec::new(); spots], vec![Vec::new(); spots]);
    for &(from, to) in lines {
        right[from].push(to);
        left[to].push(from);
    }
    let mut best = columns.clone();
    let mut fewest = crossings(&columns, &right);
    for sweep in 0..SWEEPS {
        if fewest == 0 {
            break;
        }
        let count = columns.len();
        for step in 1..count {
            let (at, beside, neighbours) = if sweep % 2 == 0 {
                (count - 1 - step, count - step, &right)
            } else {
                (step, step - 1, &left)
            };
            let places = places(&columns[beside], spots);
            arrange(&mut columns[at], &places, neighbours);
        }
        let now = crossings(&columns, &right);
        if now < fewest {
            (fewest, best) = (now, columns.clone());
        }
    }
    best
}

fn places(column: &[Spot], spots: usize) -> Vec<usize> {
    let mut places = vec![0; spots];
    for (place, spot) in column.iter().enumerate() {
        places[*spot] = place;
    }
    places
}

/// Moves each spot to the middle of its neighbours; a spot without neighbours stays about where it
/// is.
fn arrange(column: &mut [Spot], places: &[usize], neighbours: &[Vec<Spot>]) {
    let mut wishes: Vec<(f64, Spot)> = column
        .iter()
        .enumerate()
        .map(|(place, spot)| {
            let beside = &neighbours[*spot];
            let sum: usize = beside.iter().map(|other| places[*other]).sum();
            let wish = if beside.is_empty() {
                place as f64
            } else {
                sum as f64 / beside.len() as f64
            };
            (wish, *spot)
        })
        .collect();
    wishes.sort_by(|one, two| one.0.total_cmp(&two.0));
    for (place, (_, spot)) in column.iter_mut().zip(wishes) {
        *place = spot;
    }
}

/// The number of pairs of lines that cross.
fn crossings(columns: &[Vec<Spot>], right: &[Vec<Spot>]) -> usize {
    columns
        .windows(2)
        .map(|pair| {
            let places = places(&pair[1], right.len());
            let ends = pair[0].iter().flat_map(|spot| {
                let mut ends: Vec<usize> = right[*spot].iter().map(|to| places[*to]).collect();
                ends.sort_unstable();
                ends
            });
            inversions(&ends.collect::<Vec<_>>(), pair[1].len())
        })
        .sum()
}

/// The number of pairs whose first number is greater than the second, counted by a Fenwick tree.
fn inversions(numbers: &[usize], limit: usize) -> usize {
    let mut tree = vec![0usize; limit + 1];
    let mut count = 0;
    for (before, number) in numbers.iter().enumerate() {
        let mut at = number + 1;
        let mut not_greater = 0;
        while at > 0 {
            not_greater += tree[at];
            at &= at - 1;
        }
        count += before - not_greater;
        let mut at = number + 1;
        while at <= limit {
            tree[at] += 1;
            at += at & at.wrapping_neg();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column_of(layers: &Layers, spot: Spot) -> usize {
        let has = |column: &Vec<Spot>| column.contains(&spot);
        layers.columns.iter().position(has).expect("has a place")
    }

    #[test]
    fn a_waiter_is_to_the_left_of_what_it_waits_for() {
        let edges = [(0, 1), (1, 2), (3, 1), (0, 2)];
        let layers = layers(4, &edges);
        for (from, to) in edges {
            assert!(column_of(&layers, from) < column_of(&layers, to));
        }
        assert_eq!(layers.ways[3].len(), 3, "a bend in the column between");
    }

    #[test]
    fn a_cycle_is_laid_out_too_and_its_edges_keep_their_direction() {
        let edges = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 4)];
        let layers = layers(5, &edges);
        for ((from, to), way) in edges.iter().zip(&layers.ways) {
            assert_eq!((way.first(), way.last()), (Some(from), Some(to)));
        }
        let back = &layers.ways[3];
        assert_eq!(back.len(), 4);
    }

    #[test]
    fn crossings_are_found_and_taken_out() {
        assert_eq!(inversions(&[2, 1, 0], 3), 3);
        assert_eq!(inversions(&[0, 1, 1, 2], 3), 0);
        // Four nodes wait for four others, in the opposite order.
        let edges = [(0, 7), (1, 6), (2, 5), (3, 4)];
        let layers = layers(8, &edges);
        let mut right = vec![Vec::new(); layers.spots];
        for (from, to) in &layers.lines {
            right[*from].push(*to);
        }
        assert_eq!(crossings(&layers.columns, &right), 0);
    }
}
