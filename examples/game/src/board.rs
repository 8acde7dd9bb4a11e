//! The board of four in a row: seven columns that discs fall into.

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) const COLUMN_COUNT: usize = 7;
pub(crate) const ROW_COUNT: usize = 6;

/// The directions in which a line can go; each of them is looked at backwards too.
const DIRECTIONS: [(isize, isize); 4] = [(1, 0), (0, 1), (1, 1), (1, -1)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Color {
    Red,
    Yellow,
}

impl Color {
    /// Whose disc comes after so many others. Red begins.
    pub(crate) fn after(disc_count: usize) -> Self {
        if disc_count.is_multiple_of(2) { Self::Red } else { Self::Yellow }
    }
}

/// The discs in each column, from the bottom up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Board {
    columns: [Vec<Color>; COLUMN_COUNT],
}

impl Board {
    /// Drops a disc. There is room for it, and such a column.
    pub(crate) fn drop_disc(&mut self, column: usize, color: Color) {
        if let Some(discs) = self.columns.get_mut(column) {
            discs.push(color);
        }
    }

    /// How many discs are in a column, if there is such a column.
    pub(crate) fn disc_count(&self, column: usize) -> Option<usize> {
        self.columns.get(column).map(Vec::len)
    }

    /// Whether the disc on top of a column is in a line of four.
    pub(crate) fn makes_four(&self, column: usize) -> bool {
        let top = self.disc_count(column).and_then(|count| count.checked_sub(1));
        top.is_some_and(|row| {
            DIRECTIONS.iter().any(|(right, up)| {
                let before = self.same_count(column, row, -right, -up);
                before + 1 + self.same_count(column, row, *right, *up) >= 4
            })
        })
    }

    /// How many discs of the same colour follow one in a direction.
    fn same_count(&self, column: usize, row: usize, right: isize, up: isize) -> usize {
        let color = self.at(column, row);
        let is_same = |distance: &isize| {
            let column = column.checked_add_signed(right * distance);
            let row = row.checked_add_signed(up * distance);
            column.zip(row).is_some_and(|(column, row)| self.at(column, row) == color)
        };
        (1..4).take_while(is_same).count()
    }

    fn at(&self, column: usize, row: usize) -> Option<Color> {
        self.columns.get(column)?.get(row).copied()
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in (0..ROW_COUNT).rev() {
            for column in 0..COLUMN_COUNT {
                f.write_str(match self.at(column, row) {
                    Some(Color::Red) => "R ",
                    Some(Color::Yellow) => "Y ",
                    None => ". ",
                })?;
            }
            f.write_str("\n")?;
        }
        f.write_str("1 2 3 4 5 6 7 ")
    }
}
