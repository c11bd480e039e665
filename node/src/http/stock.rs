//! `/v1/stock`.

use axum::Json;
use axum::extract::State;
use jikai_schema::projection::PackState;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::SignedIn;
use super::problem::Problem;
use crate::app::App;
use crate::query::stock_of;

/// Packs of one game at the outlet.
#[derive(Serialize, ToSchema)]
pub(super) struct GameStockView {
    game_code: String,
    game_name: String,
    in_transit: i64,
    active: i64,
    sold_out: i64,
    returned: i64,
    /// Face value of what is on its way or on sale.
    face_yuan: String,
}

/// The outlet's stock.
#[derive(Serialize, ToSchema)]
pub(super) struct StockView {
    games: Vec<GameStockView>,
}

/// Counts the outlet's packs by game and state. Errors: 401.
#[utoipa::path(get, path = "/v1/stock", responses((status = 200, body = StockView), (status = 401, body = Problem)))]
pub(super) async fn stock(State(app): State<App>, session: SignedIn) -> Result<Json<StockView>, Problem> {
    let outlet = session.caller().outlet();
    let lines = app.pool.read(move |store| stock_of(store, outlet)).await??;
    let games = lines.into_iter().map(|line| GameStockView {
        game_code: line.game.to_string(),
        game_name: line.name,
        in_transit: line.packs[PackState::InTransit as usize],
        active: line.packs[PackState::Active as usize],
        sold_out: line.packs[PackState::SoldOut as usize],
        returned: line.packs[PackState::Returned as usize],
        face_yuan: line.face.to_string(),
    });
    Ok(Json(StockView { games: games.collect() }))
}
