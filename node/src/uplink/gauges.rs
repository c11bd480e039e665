//! The uplink in the metrics.

use jikai_sync::routes::Route;
use jikai_sync::transport::UplinkStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Keeps the metrics of the uplink true until cancelled.
pub async fn keep_gauges(mut status: watch::Receiver<UplinkStatus>, cancelled: CancellationToken) {
    let mut shown: Option<Route> = None;
    loop {
        let now = status.borrow_and_update().clone();
        show_route(&mut shown, now.route.as_ref());
        metrics::gauge!("jikai_uplink_rtt_ms").set(now.rtt_ms.unwrap_or(f64::NAN));
        metrics::gauge!("jikai_uplink_loss_ratio").set(now.loss);
        metrics::gauge!("jikai_uplink_routes").set(now.known as f64);
        metrics::gauge!("jikai_uplink_routes_ejected").set(now.ejected as f64);
        metrics::counter!("jikai_uplink_switches_total").absolute(now.switches);
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            () = cancelled.cancelled() => return,
        }
    }
}

/// One series a route; that of the route in use is 1, those of before are 0.
fn show_route(shown: &mut Option<Route>, now: Option<&Route>) {
    if shown.as_ref() == now {
        return;
    }
    if let Some(before) = shown.take() {
        set(&before, 0.0);
    }
    if let Some(now) = now {
        set(now, 1.0);
    }
    *shown = now.cloned();
}

fn set(route: &Route, value: f64) {
    let (machine, address) = (route.machine.to_string(), route.address.to_string());
    metrics::gauge!("jikai_uplink_route", "machine" => machine, "link" => route.link.clone(), "address" => address)
        .set(value);
}
