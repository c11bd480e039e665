//! The ways to the hub: what the hub told of its machines, and the addresses of the settings.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use jikai_schema::event::{EventBody, HubEvent, MachineState};
use jikai_sync::routes::Route;
use rusqlite::Connection;
use tokio::sync::watch;

/// The routes as this node knows them.
#[derive(Debug)]
pub struct HubRoutes {
    settings: Vec<SocketAddr>,
    routes: watch::Sender<Vec<Route>>,
}

impl HubRoutes {
    /// Reads what the store knows; `settings` are the addresses that the node was set up with.
    pub fn load(store: &Connection, settings: Vec<SocketAddr>) -> Result<Self, rusqlite::Error> {
        let routes = watch::Sender::new(routes(store, &settings)?);
        Ok(HubRoutes { settings, routes })
    }

    /// The routes now, and as they change.
    pub fn watch(&self) -> watch::Receiver<Vec<Route>> {
        self.routes.subscribe()
    }

    /// The addresses of the settings.
    pub fn settings(&self) -> Vec<SocketAddr> {
        self.settings.clone()
    }

    /// Takes these for the routes from now on.
    pub fn publish(&self, routes: Vec<Route>) {
        self.routes.send_if_modified(|known| {
            let is_news = *known != routes;
            *known = routes;
            is_news
        });
    }
}

/// Whether this fact changes the ways to the hub.
pub fn changes_routes(body: &EventBody) -> bool {
    matches!(body, EventBody::Hub(HubEvent::MachineDefined { .. } | HubEvent::MachineStateChanged { .. }))
}

/// The links of the machines that serve. An address of the settings of which the hub told nothing is kept for when none of those
/// is live; so are all of them where the hub told of no machine that serves.
pub fn routes(store: &Connection, settings: &[SocketAddr]) -> Result<Vec<Route>, rusqlite::Error> {
    let sql = "SELECT l.machine, l.name, l.address, l.weight, m.state = ?1 AND m.voter_only = 0 \
               FROM hub_link l JOIN hub_machine m ON m.machine = l.machine ORDER BY l.machine, l.name";
    let mut statement = store.prepare_cached(sql)?;
    let mut rows = statement.query([MachineState::Serving.code()])?;
    let (mut routes, mut told) = (Vec::new(), BTreeSet::new());
    while let Some(row) = rows.next()? {
        let address: String = row.get(2)?;
        // What no build could have written leads nowhere.
        let Ok(address) = address.parse() else { continue };
        told.insert(address);
        if row.get(4)? {
            routes.push(Route { machine: row.get(0)?, link: row.get(1)?, address, weight: row.get(3)? });
        }
    }
    let is_known = |address: &SocketAddr| told.contains(address) && !routes.is_empty();
    let others: Vec<Route> =
        settings.iter().filter(|address| !is_known(address)).map(|address| Route::to(*address, 0)).collect();
    routes.extend(others);
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use jikai_schema::store::{MIGRATIONS, migrate};

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn store(rows: &str) -> Connection {
        let mut store = Connection::open_in_memory().unwrap();
        migrate(&mut store, "projection", MIGRATIONS).unwrap();
        store.execute_batch(rows).unwrap();
        store
    }

    fn link(machine: u16, name: &str, port: u16, weight: u32) -> Route {
        Route { machine, link: name.into(), address: address(port), weight }
    }

    /// Machine 1 serves, 2 drains, 3 only votes, 4 was removed; one serves without telling where.
    const MACHINES: &str = "INSERT INTO hub_machine VALUES (1, NULL, 0, 1), (2, NULL, 0, 2), (3, NULL, 1, 1), (4, NULL, 0, 3), \
         (5, NULL, 0, 1); \
         INSERT INTO hub_link VALUES (1, 'telecom', '10.0.0.1:11', 5), (1, 'unicom', '10.0.0.1:12', 7), \
         (2, 'telecom', '10.0.0.1:21', 5), (3, 'telecom', '10.0.0.1:31', 5), (4, 'telecom', '10.0.0.1:41', 5);";

    #[test]
    fn before_the_hub_tells_of_its_machines_the_settings_lead_to_it() {
        let routes = routes(&store(""), &[address(1), address(2)]).unwrap();
        assert_eq!(routes, [Route::to(address(1), 0), Route::to(address(2), 0)]);
    }

    #[test]
    fn machines_that_serve_are_taken_and_of_the_settings_what_the_hub_told_nothing_of_as_a_reserve() {
        let settings = [address(11), address(21), address(41), address(99)];
        let routes = routes(&store(MACHINES), &settings).unwrap();
        let expected = [link(1, "telecom", 11, 5), link(1, "unicom", 12, 7), Route::to(address(99), 0)];
        assert_eq!(routes, expected);
    }

    #[test]
    fn with_no_machine_that_serves_all_addresses_of_the_settings_stay() {
        let store = store(MACHINES);
        store.execute("UPDATE hub_machine SET state = 2", []).unwrap();
        let routes = routes(&store, &[address(11), address(21)]).unwrap();
        assert_eq!(routes, [Route::to(address(11), 0), Route::to(address(21), 0)]);
    }

    #[test]
    fn only_other_routes_are_told() {
        let store = store(MACHINES);
        let known = HubRoutes::load(&store, vec![address(99)]).unwrap();
        let mut watching = known.watch();
        watching.mark_unchanged();
        known.publish(routes(&store, &known.settings()).unwrap());
        assert!(!watching.has_changed().unwrap());
        store.execute("UPDATE hub_machine SET state = 1 WHERE machine = 2", []).unwrap();
        known.publish(routes(&store, &known.settings()).unwrap());
        assert!(watching.has_changed().unwrap());
    }
}
