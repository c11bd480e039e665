//! `cluster status`: the machines and how they stand.

use serde_json::Value;

use crate::command::client::Client;

pub(super) async fn status(client: &Client, as_json: bool) -> anyhow::Result<()> {
    let view = client.get("/v1/cluster").await?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&view)?);
        return Ok(());
    }
    println!(
        "leader: {}   term: {}   generation: {}   jobs at: {}",
        text(&view["leader"]),
        text(&view["term"]),
        text(&view["generation"]),
        text(&view["jobs_at"])
    );
    missing_majority_words(&view).iter().for_each(|words| println!("{words}"));
    spare_words(&view).iter().for_each(|words| println!("{words}"));
    let digest = &view["digest"];
    match digest["agrees"].as_bool() {
        Some(true) => println!("tables agree with the other machines at entry {}", text(&digest["index"])),
        Some(false) => println!("TABLES DIFFER at entry {}: {}", text(&digest["index"]), digest["tables"]),
        None => {}
    }
    println!(
        "{:>7}  {:<8} {:<9} {:<11} {:>12} {:>12}  reached at",
        "machine", "role", "state", "now", "log", "applied"
    );
    for machine in view["machines"].as_array().into_iter().flatten() {
        let mark = match (machine["leads"] == true, machine["voter_only"] == true, machine["answers"] == true) {
            // Who was heard to lead may be gone.
            (_, _, false) if machine["role"] != "outside" => "no answer",
            (true, ..) => "leads",
            (_, true, _) => "votes only",
            _ => "",
        };
        println!(
            "{:>7}  {:<8} {:<9} {mark:<11} {:>12} {:>12}  {}",
            text(&machine["machine"]),
            text(&machine["role"]),
            text(&machine["state"]),
            text(&machine["last_index"]),
            text(&machine["applied_index"]),
            text(&machine["peer_address"])
        );
        for link in machine["links"].as_array().into_iter().flatten() {
            println!("{:>7}  link {} {} weight {}", "", text(&link["name"]), text(&link["address"]), link["weight"]);
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace("null", "-")
}

/// Why nothing is taken in here; none where something is.
fn missing_majority_words(view: &Value) -> Option<&'static str> {
    let mut known = view["machines"].as_array().into_iter().flatten();
    match view["has_majority"] == false {
        true if known.any(|machine| machine["machine"] == view["machine"]) => Some(
            "NO MAJORITY of the machines confirms this: nothing is taken in. Start the machines that do not answer.",
        ),
        true if view["leader"].is_null() => {
            Some("This machine belongs to no hub yet. Have it taken in at a machine of the hub: jikai-hub cluster add")
        }
        true => Some("This machine is being taken in, and has not heard everything yet."),
        false => None,
    }
}

/// How many machines may fail before nothing is taken in any more. None where that is so already, and for a hub of one machine.
fn spare_words(view: &Value) -> Option<String> {
    let voters = view["machines"].as_array()?.iter().filter(|machine| machine["role"] == "voter");
    let (all, answering) = voters
        .fold((0_u32, 0_u32), |(all, answering), voter| (all + 1, answering + u32::from(voter["answers"] == true)));
    match answering.checked_sub(all / 2 + 1)? {
        _ if all == 1 => None,
        0 => Some(format!("{answering} of {all} voters answer: if ONE MORE fails, the hub takes nothing in")),
        spare => Some(format!("{answering} of {all} voters answer: {spare} more may fail")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_machine_that_was_not_taken_in_yet_misses_no_majority() {
        let told = |has_majority, leader: Option<u16>, machines: &[u16]| {
            let machines: Vec<_> = machines.iter().map(|number| json!({ "machine": number })).collect();
            let view = json!({ "machine": 2, "has_majority": has_majority, "leader": leader, "machines": machines });
            missing_majority_words(&view).unwrap_or_default()
        };
        assert!(told(false, None, &[1, 2]).starts_with("NO MAJORITY"));
        assert!(told(false, None, &[1]).contains("belongs to no hub yet"), "it knows who invited it");
        assert!(told(false, Some(1), &[1]).contains("is being taken in"));
        assert_eq!(told(true, Some(1), &[1, 2]), "");
    }

    #[test]
    fn it_is_told_how_many_voters_may_fail() {
        let told = |answers: &[bool]| {
            let voters = answers.iter().map(|answers| json!({ "role": "voter", "answers": answers }));
            let learner = json!({ "role": "learner", "answers": true });
            spare_words(&json!({ "machines": voters.chain([learner]).collect::<Vec<_>>() }))
        };
        assert_eq!(told(&[true]), None, "it is alone, and no surprise");
        assert!(told(&[true, true]).unwrap().ends_with("if ONE MORE fails, the hub takes nothing in"));
        assert_eq!(told(&[true, true, true]).unwrap(), "3 of 3 voters answer: 1 more may fail");
        assert!(told(&[true, false, true]).unwrap().starts_with("2 of 3 voters answer: if ONE MORE"));
        assert_eq!(told(&[true, false, false]), None, "it takes nothing in as it is");
        assert_eq!(told(&[true; 5]).unwrap(), "5 of 5 voters answer: 2 more may fail");
    }
}
