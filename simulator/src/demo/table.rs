//! Tables for a terminal, in which Chinese characters take two columns.

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(|letter| if is_wide(letter) { 2 } else { 1 }).sum()
}

/// East Asian wide and fullwidth characters, as far as names and headings use them.
fn is_wide(letter: char) -> bool {
    matches!(u32::from(letter), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x20000..=0x3FFFD)
}

/// Draws rows under a header; the first column is left-aligned, all others right.
pub fn draw(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns = header.len();
    let mut widths: Vec<usize> = header.iter().map(|title| width(title)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate().take(columns) {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &wanted))| {
            let padding = " ".repeat(wanted.saturating_sub(width(cell)));
            if column == 0 { format!("{cell}{padding}") } else { format!("{padding}{cell}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let titles: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    let rule: String = widths.iter().map(|&wanted| "─".repeat(wanted)).collect::<Vec<_>>().join("  ") + "\n";
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{rule}{body}", line(&titles))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_names_take_two_columns_each() {
        assert_eq!((width("石家庄市"), width("abc"), width("a市")), (8, 3, 3));
    }

    #[test]
    fn every_line_of_a_table_is_equally_wide() {
        let rows = vec![
            vec!["石家庄市".to_owned(), "1".to_owned(), "500.00".to_owned()],
            vec!["全省".to_owned(), "12,345".to_owned(), "7.00".to_owned()],
        ];
        let text = draw(&["地区", "本", "元"], &rows);
        let widths: Vec<usize> = text.lines().map(width).collect();
        assert_eq!(widths, [24, 24, 24, 24], "{text}");
    }
}
