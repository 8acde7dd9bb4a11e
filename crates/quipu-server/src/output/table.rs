//! Tables: rows under titles, in columns that are as wide as what stands in them.

use console::{Style, measure_text_width, truncate_str};

/// The widest that a column is made for the sake of its rows. What is longer pushes the rest of
/// its row to the right.
const WIDTH_MAX: usize = 48;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) align: Align,
}

/// On which side a column's values line up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table that is printed a page at a time: rows are gathered, then rendered together.
///
/// Columns never become narrower from page to page, so that pages line up as far as they can.
#[derive(Debug)]
pub(crate) struct Table {
    columns: &'static [Column],
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    is_begun: bool,
}

impl Table {
    pub(crate) fn new(columns: &'static [Column]) -> Self {
        let widths = columns.iter().map(|column| column.title.len()).collect();
        Self { columns, widths, rows: Vec::new(), is_begun: false }
    }

    /// The same table with columns at least so wide, for rows that are printed one by one.
    pub(crate) fn at_least(mut self, widths: &[usize]) -> Self {
        for (own, least) in self.widths.iter_mut().zip(widths) {
            *own = (*own).max(*least);
        }
        self
    }

    /// Gathers a row: a value for each column.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.columns.len(), "a row has a value for each column");
        self.rows.push(row);
    }

    /// How many rows wait to be rendered.
    pub(crate) fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// The gathered rows as text, cut to `width` columns; under their titles the first time.
    /// Nothing where there are no rows.
    pub(crate) fn render(&mut self, width: Option<usize>, title_style: &Style) -> String {
        let mut text = String::new();
        if self.rows.is_empty() {
            return text;
        }
        for row in &self.rows {
            for (own, value) in self.widths.iter_mut().zip(row) {
                *own = (*own).max(measure_text_width(value).min(WIDTH_MAX));
            }
        }
        if !self.is_begun {
            self.is_begun = true;
            let titles = self.columns.iter().map(|column| column.title);
            let line = self.line(titles, width);
            text.push_str(&title_style.apply_to(line).to_string());
            text.push('\n');
        }
        for row in &self.rows {
            text.push_str(&self.line(row.iter().map(String::as_str), width));
            text.push('\n');
        }
        self.rows.clear();
        text
    }

    fn line<'a>(&self, values: impl Iterator<Item = &'a str>, width: Option<usize>) -> String {
        let mut line = String::new();
        for ((value, column), own) in values.zip(self.columns).zip(&self.widths) {
            let blanks = " ".repeat(own.saturating_sub(measure_text_width(value)));
            match column.align {
                Align::Left => line.extend([value, &blanks]),
                Align::Right => line.extend([&blanks, value]),
            }
            line.push_str("  ");
        }
        let line = line.trim_end();
        match width {
            Some(width) => truncate_str(line, width, "…").into_owned(),
            None => line.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column { title: "n", align: Align::Right },
        Column { title: "name", align: Align::Left },
        Column { title: "data", align: Align::Left },
    ];

    fn row(values: [&str; 3]) -> Vec<String> {
        values.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_line_up_under_their_titles() {
        let mut table = Table::new(COLUMNS);
        table.push(row(["1", "a", "x"]));
        table.push(row(["10", "zürich", ""]));

        let text = table.render(None, &Style::new());

        assert_eq!(text, " n  name    data\n 1  a       x\n10  zürich\n");
    }

    #[test]
    fn later_pages_have_no_titles_and_line_up_with_the_first() {
        let mut table = Table::new(COLUMNS);
        table.push(row(["100", "a", "x"]));
        table.render(None, &Style::new());
        table.push(row(["1", "b", "y"]));

        assert_eq!(table.render(None, &Style::new()), "  1  b     y\n");
    }

    #[test]
    fn lines_are_cut_to_the_terminal() {
        let mut table = Table::new(COLUMNS);
        table.push(row(["1", "a", "much more than fits"]));

        let text = table.render(Some(16), &Style::new());

        assert!(text.lines().all(|line| measure_text_width(line) <= 16), "{text}");
        assert!(text.ends_with("…\n"), "{text}");
    }

    #[test]
    fn a_table_without_rows_prints_nothing() {
        assert_eq!(Table::new(COLUMNS).render(None, &Style::new()), "");
    }
}
