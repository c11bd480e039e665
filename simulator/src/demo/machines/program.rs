//! The hub's program, started as what runs elsewhere.
//!
//! A province has its hub on machines of its own: what they compute takes no time from nodes and terminals. Here all share the cores of
//! one machine, so the hub's processes yield to the others wherever the cores do not suffice for both.

use std::path::Path;

use tokio::process::Command;

/// Priority of the hub's processes as `nice` counts it: a third of the time of a node or terminal that wants it too, never none.
pub const HUB_NICENESS: u8 = 5;

/// A command line of the hub's program that works on a data directory.
pub(in crate::demo) fn at_hub(binary: &Path, verb: &str, data: &Path) -> Command {
    let mut command = yielding(binary);
    command.arg(verb).arg("--data").arg(data);
    command
}

/// `nice` becomes the program: who is signalled and measured is the program itself.
fn yielding(binary: &Path) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", &HUB_NICENESS.to_string()]).arg(binary);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_of_the_hub_yields_and_keeps_its_number() {
        let own = Command::new("nice").output().await.unwrap().stdout;
        let own: i32 = String::from_utf8(own).unwrap().trim().parse().unwrap();
        let mut shell = yielding(Path::new("sh"));
        shell.args(["-c", "echo $$ $(nice)"]).stdout(std::process::Stdio::piped());
        let shell = shell.spawn().unwrap();
        let number = shell.id().unwrap();
        let told = String::from_utf8(shell.wait_with_output().await.unwrap().stdout).unwrap();
        assert_eq!(told.trim(), format!("{number} {}", (own + i32::from(HUB_NICENESS)).min(19)));
    }
}
