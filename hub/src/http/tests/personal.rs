//! Personal data through the API: masked for who may see them, in the clear only with a reason that is noted.

use jikai_schema::id::PrefectureCode;
use jikai_schema::staff::{Area, Grant, Role};
use serde_json::{Value, json};

use super::decisions::{ask, code};
use super::rights::{Settled, signed_in};
use super::{app, router, worked};

const PERSONAL: &str = "/v1/outlets/13010001/personal";
const IDENTITY: &str = "11010519491231002X";

fn reading(reason: &str) -> Value {
    json!({ "fields": ["identity_number", "phone"], "reason": reason })
}

#[tokio::test]
async fn an_owners_data_are_kept_encrypted_shown_masked_and_read_with_a_reason_that_is_noted() {
    let hub = worked().await;
    let router = router(app(&hub));
    let manager = signed_in(&hub, "manager", vec![Grant::everywhere(Role::MarketManager)], Settled::Yes).await;
    let finance = signed_in(&hub, "finance", vec![Grant::everywhere(Role::FinanceMaker)], Settled::Yes).await;
    let audit = signed_in(&hub, "audit", vec![Grant::everywhere(Role::AuditAdministrator)], Settled::Yes).await;
    let value = |value: &str| json!({ "value": value });
    let put = |field: &str| format!("{PERSONAL}/{field}");
    assert_eq!(ask(&router, &manager, "PUT", &put("identity_number"), value(IDENTITY)).await.0, 204);
    assert_eq!(ask(&router, &manager, "PUT", &put("phone"), value("13800138000")).await.0, 204);
    for (field, bad) in [("phone", "138"), ("identity_number", "110105194912310021")] {
        let refused = ask(&router, &manager, "PUT", &put(field), value(bad)).await;
        assert_eq!(code(&refused), (422, "invalid_value"));
        assert!(!refused.1.to_string().contains(bad), "no error repeats a value");
    }
    assert_eq!(code(&ask(&router, &manager, "PUT", &put("name"), value("x")).await), (422, "invalid_field"));
    assert_eq!(code(&ask(&router, &finance, "PUT", &put("phone"), value("13900139000")).await), (403, "not_permitted"));
    let (_, shown) = ask(&router, &audit, "GET", PERSONAL, json!({})).await;
    let masked = json!([
        { "field": "identity_number", "masked": "110***********002X" },
        { "field": "phone", "masked": "138****8000" },
    ]);
    assert_eq!(shown["fields"], masked);
    let read = format!("{PERSONAL}/reading");
    assert_eq!(code(&ask(&router, &manager, "POST", &read, reading("why not")).await), (403, "not_permitted"));
    assert_eq!(code(&ask(&router, &finance, "POST", &read, reading(" ")).await), (409, "invalid_reason"));
    let (status, values) = ask(&router, &finance, "POST", &read, reading("refund 7")).await;
    assert_eq!(
        (status, &values["fields"][0]["value"], &values["fields"][1]["value"]),
        (200, &json!(IDENTITY), &json!("13800138000"))
    );
    assert_eq!(ask(&router, &manager, "DELETE", &put("phone"), json!({})).await.0, 204);
    let (_, left) = ask(&router, &audit, "GET", PERSONAL, json!({})).await;
    assert_eq!(left["fields"].as_array().map(Vec::len), Some(1));
    // The router holds the hub open.
    drop(router);
    let data = hub.stop().await;
    let mut state = crate::store::open(data.path()).unwrap();
    let log = String::from_utf8(crate::reports::hub_events(&mut state, 0, 1_000).unwrap()).unwrap();
    let noted = log.lines().find(|line| line.contains("personal_data_read")).unwrap();
    assert!(noted.contains("finance") && noted.contains("refund 7") && noted.contains("13010001"), "{noted}");
    drop(state);
    for file in std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&file).unwrap();
        for secret in [IDENTITY.as_bytes(), b"13800138000"] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{}", file.display());
        }
    }
}

#[tokio::test]
async fn nobody_sees_or_keeps_the_data_of_an_owner_outside_the_own_area() {
    let hub = worked().await;
    let router = router(app(&hub));
    let area = Area::Prefecture(PrefectureCode::new(1302).unwrap());
    let grant = Grant { area, ..Grant::everywhere(Role::MarketManager) };
    let elsewhere = signed_in(&hub, "elsewhere", vec![grant], Settled::Yes).await;
    assert_eq!(code(&ask(&router, &elsewhere, "GET", PERSONAL, json!({})).await), (404, "unknown_outlet"));
    let phone = json!({ "value": "13800138000" });
    let refused = ask(&router, &elsewhere, "PUT", &format!("{PERSONAL}/phone"), phone.clone()).await;
    assert_eq!(code(&refused), (404, "unknown_outlet"));
    let own = "/v1/outlets/13020001/personal/phone";
    assert_eq!(ask(&router, &elsewhere, "PUT", own, phone).await.0, 204);
}
