//! What is to be changed, as JSON says it.

use std::fmt::Display;
use std::str::FromStr;

use axum::http::StatusCode;
use jikai_schema::barcode::parse_pack;
use jikai_schema::command::{ChangeSubject, Deposit};
use jikai_schema::event::{MasterEvent, PackHold, SaleState};
use jikai_schema::id::{BatchCode, BatchNo, GameCode, OutletClass, PackId, PrefectureCode};
use jikai_schema::money::{RatePpm, SaleShares};
use jikai_schema::parameter::ParameterScope;
use jikai_schema::time::{BusinessDay, TimeMs};
use rusqlite::{Connection, OptionalExtension};
use serde::Deserialize;
use utoipa::ToSchema;

use super::grants::GrantView;
use super::problem::Problem;

/// A batch, by its number or by its printed name.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchBody {
    /// Its number.
    Number(u32),
    /// Such as `G0201-26001`.
    Name(String),
}

/// What is to be changed.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum SubjectBody {
    /// A parameter, see `GET /v1/parameters`.
    Parameter {
        /// Its key.
        key: String,
        /// For one prefecture only, 4 digits. At most one of prefecture, outlet class and game; the province without.
        prefecture: Option<u16>,
        /// For outlets of one class only, 1 to 9.
        outlet_class: Option<u8>,
        /// For one game only.
        game: Option<String>,
        /// In the parameter's unit.
        value: i64,
        /// First instant, such as `2026-12-01T00:00:00+08:00`.
        effective_from: String,
    },
    /// A game.
    Game {
        /// Such as `G0201`.
        game: String,
        /// Display name.
        name: String,
        /// Price of a ticket.
        price_yuan: String,
        /// Parts per million.
        prize_fund_ppm: u32,
        /// Parts per million.
        welfare_fund_ppm: u32,
        /// Parts per million.
        commission_ppm: u32,
        /// Highest prize that an outlet pays.
        outlet_limit_yuan: String,
        /// Highest prize that a city centre pays.
        city_limit_yuan: String,
    },
    /// The sale of a batch.
    Sale {
        batch: BatchBody,
        /// open, paused or stopped.
        state: String,
        /// Needed to open.
        approval_number: Option<String>,
        /// Needed to open: day of the public notice.
        notice_day: Option<String>,
    },
    /// The end of redemption of a batch.
    RedemptionEnd {
        batch: BatchBody,
        /// First instant without redemption.
        ends_at: String,
    },
    /// A hold on a pack.
    Hold {
        /// Such as `G0201-26001-0000123`.
        pack: String,
        /// none, frozen, stolen, lost or damaged.
        hold: String,
    },
    /// A deposit by hand.
    Deposit {
        /// Its own number.
        deposit_id: u64,
        /// 8 digits.
        outlet_id: String,
        /// Above 0.
        amount_yuan: String,
    },
    /// What is granted to a person.
    Grants {
        /// Whose account.
        login: String,
        /// All that is granted from then on.
        grants: Vec<GrantView>,
    },
    /// A printer's package, to be imported.
    PrizeData {
        /// Such as `G0201`.
        game: String,
        /// The printer's code, 5 digits.
        batch_code: String,
        /// SHA-256 of the signed PACKAGE file, as each of the two persons computed it: 64 hex digits.
        package_sha256: String,
    },
    /// The class of an outlet.
    OutletClass {
        /// 8 digits.
        outlet_id: String,
        /// 1 to 9.
        class: u8,
    },
}

impl SubjectBody {
    /// Reads it; printed names of packs and batches are looked up. Errors: 404 `unknown_pack`, `unknown_batch`; 422 `invalid_…`.
    pub(super) fn read(self, store: &Connection) -> Result<ChangeSubject, Problem> {
        Ok(match self {
            SubjectBody::Parameter { key, prefecture, outlet_class, game, value, effective_from } => {
                let scope = scope_of(prefecture, outlet_class, game)?;
                let effective_from_ms: TimeMs = parse("effective_from", &effective_from)?;
                ChangeSubject::Parameter { key, scope, value, effective_from_ms }
            }
            SubjectBody::Game { .. } => self.read_game()?,
            SubjectBody::Sale { batch, state, approval_number, notice_day } => {
                let states = [SaleState::Open, SaleState::Paused, SaleState::Stopped];
                let state = states.into_iter().find(|known| known.name() == state);
                let state = state.ok_or_else(|| Problem::invalid("state", "A sale is open, paused or stopped."))?;
                let day = notice_day.map(|day| parse::<BusinessDay>("day", &day)).transpose()?;
                ChangeSubject::Sale { batch: batch_of(store, &batch)?, state, approval: approval_number.zip(day) }
            }
            SubjectBody::RedemptionEnd { batch, ends_at } => ChangeSubject::RedemptionEnd {
                batch: batch_of(store, &batch)?,
                ends_at_ms: parse("ends_at", &ends_at)?,
            },
            SubjectBody::Hold { pack, hold } => {
                let holds = [PackHold::None, PackHold::Frozen, PackHold::Stolen, PackHold::Lost, PackHold::Damaged];
                let found = holds.into_iter().find(|known| known.name().unwrap_or("none") == hold);
                let hold = found
                    .ok_or_else(|| Problem::invalid("hold", "A hold is none, frozen, stolen, lost or damaged."))?;
                ChangeSubject::Hold { pack: pack_named(store, &pack)?, hold }
            }
            SubjectBody::Deposit { deposit_id, outlet_id, amount_yuan } => ChangeSubject::Deposit(Deposit {
                deposit: deposit_id,
                outlet: parse("outlet", &outlet_id)?,
                amount: parse("amount", &amount_yuan)?,
            }),
            SubjectBody::Grants { login, grants } => {
                ChangeSubject::Grants { login, grants: GrantView::read_all(&grants)? }
            }
            SubjectBody::PrizeData { game, batch_code, package_sha256 } => {
                let mut package_hash = [0; 32];
                let malformed = |_| Problem::invalid("package_sha256", "A SHA-256 has 64 hex digits.");
                hex::decode_to_slice(&package_sha256, &mut package_hash).map_err(malformed)?;
                ChangeSubject::PrizeData {
                    game: parse("game", &game)?,
                    code: parse("batch_code", &batch_code)?,
                    package_hash,
                }
            }
            SubjectBody::OutletClass { outlet_id, class } => ChangeSubject::OutletClass {
                outlet: parse("outlet", &outlet_id)?,
                class: OutletClass::new(class).map_err(|error| Problem::invalid("class", error.to_string()))?,
            },
        })
    }

    fn read_game(self) -> Result<ChangeSubject, Problem> {
        let SubjectBody::Game {
            game,
            name,
            price_yuan,
            prize_fund_ppm,
            welfare_fund_ppm,
            commission_ppm,
            outlet_limit_yuan,
            city_limit_yuan,
        } = self
        else {
            return Err(Problem::internal(&"this is no game"));
        };
        let rate = |ppm| {
            RatePpm::new(ppm)
                .ok_or_else(|| Problem::invalid("shares", "A share has at most 1,000,000 parts per million."))
        };
        let shares = SaleShares::new(rate(prize_fund_ppm)?, rate(welfare_fund_ppm)?, rate(commission_ppm)?);
        let too_much = || Problem::invalid("shares", "The shares do not leave enough to pay the commission.");
        Ok(ChangeSubject::Game(MasterEvent::GameDefined {
            game: parse("game", &game)?,
            name,
            price: parse("price", &price_yuan)?,
            shares: shares.ok_or_else(too_much)?,
            outlet_limit: parse("outlet_limit", &outlet_limit_yuan)?,
            city_limit: parse("city_limit", &city_limit_yuan)?,
        }))
    }
}

fn parse<T: FromStr<Err: Display>>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::invalid(what, error.to_string()))
}

/// The batch of a number or printed name.
fn batch_of(store: &Connection, body: &BatchBody) -> Result<BatchNo, Problem> {
    let name = match body {
        BatchBody::Number(number) => {
            return BatchNo::new(*number).map_err(|error| Problem::invalid("batch", error.to_string()));
        }
        BatchBody::Name(name) => name,
    };
    let form = || Problem::invalid("batch", "A batch is its number, or a name such as G0201-26001.");
    let (game, code) = name.split_once('-').ok_or_else(form)?;
    let (game, code) = (game.parse::<GameCode>().map_err(|_| form())?, code.parse::<BatchCode>().map_err(|_| form())?);
    batch_number(store, game, code)?.ok_or_else(|| {
        let hint = "Check the name on a pack; the batch must have been imported.";
        Problem::new(StatusCode::NOT_FOUND, "unknown_batch", "There is no such batch.", hint)
    })
}

fn batch_number(store: &Connection, game: GameCode, code: BatchCode) -> Result<Option<BatchNo>, Problem> {
    let sql = "SELECT batch FROM batch WHERE game = ?1 AND code = ?2";
    let key = (game.packed(), code.get());
    let number: Option<u32> = store.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
    Ok(number.and_then(|number| BatchNo::new(number).ok()))
}

/// The pack of a printed name.
fn pack_named(store: &Connection, name: &str) -> Result<PackId, Problem> {
    let printed = parse_pack(name).map_err(|error| Problem::invalid("pack", error.to_string()))?;
    let pack = batch_number(store, printed.game, printed.batch)?.map(|batch| PackId::new(batch, printed.pack));
    let unknown = || {
        let hint = "Check the name on the pack.";
        Problem::new(StatusCode::NOT_FOUND, "unknown_pack", "There is no such pack.", hint)
    };
    pack.and_then(Result::ok).ok_or_else(unknown)
}

/// The one scope that was given; the province without.
fn scope_of(prefecture: Option<u16>, class: Option<u8>, game: Option<String>) -> Result<ParameterScope, Problem> {
    let invalid =
        |what: &'static str| move |error: jikai_schema::id::IdError| Problem::invalid(what, error.to_string());
    Ok(match (prefecture, class, game) {
        (None, None, None) => ParameterScope::Province,
        (Some(code), None, None) => {
            ParameterScope::Prefecture(PrefectureCode::new(code).map_err(invalid("prefecture"))?)
        }
        (None, Some(class), None) => {
            ParameterScope::OutletClass(OutletClass::new(class).map_err(invalid("outlet_class"))?)
        }
        (None, None, Some(game)) => ParameterScope::Game(parse("game", &game)?),
        _ => return Err(Problem::invalid("scope", "Give one of prefecture, outlet_class and game, or none.")),
    })
}
