//! The line of the settings that names the source of the master key.

use super::MasterSource;

const KEY: &str = "master_key";

/// The settings with another source; everything else stays as the operator wrote it. The key stands before the first table.
pub(super) fn with_master(settings: &str, source: &MasterSource) -> String {
    let value = source.to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let line = format!("{KEY} = \"{value}\"");
    let lines: Vec<&str> = settings.lines().collect();
    let top = lines.iter().position(|line| line.trim_start().starts_with('[')).unwrap_or(lines.len());
    let is_it = |line: &&str| line.split_once('=').is_some_and(|(key, _)| key.trim() == KEY);
    let at = lines[..top].iter().position(is_it);
    let kept = lines.iter().enumerate().filter(|(place, _)| Some(*place) != at).map(|(_, line)| *line);
    let mut written: Vec<&str> = kept.collect();
    written.insert(at.unwrap_or(0), &line);
    written.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_changes_and_a_table_after_it_does_not() {
        let source: MasterSource = "env:KEY".parse().unwrap();
        let table = "# mine\na = 1\n\n[game]\nmaster_key = \"other\"\n";
        assert_eq!(with_master(table, &source), format!("master_key = \"env:KEY\"\n{table}"));
        let named = "# mine\na = 1\nmaster_key=\"file:x\"\nb = 2\n[game]\n";
        assert_eq!(with_master(named, &source), named.replace("master_key=\"file:x\"", "master_key = \"env:KEY\""));
        let quoted: MasterSource = r#"file:a"\b"#.parse().unwrap();
        assert_eq!(with_master("", &quoted), "master_key = \"file:a\\\"\\\\b\"\n");
    }
}
