//! Routes of the caller's gym.

use actix_web::{get, patch, web};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::rules;
use super::store::{self, Gym, GymChange};
use crate::app::App;
use crate::auth::{Caller, Role};
use crate::error::{Lang, Result};
use crate::http::Body;

/// Mounts the routes.
pub fn routes(config: &mut ServiceConfig) {
    config.service(find_gym).service(update_gym);
}

/// Read the gym that the caller is signed in to.
#[utoipa::path(
    tag = "gym",
    responses((status = 200, body = Gym), (status = 401, description = "not signed in")),
    security(("bearer" = []))
)]
#[get("/gym")]
async fn find_gym(app: web::Data<App>, caller: Caller) -> Result<web::Json<Gym>> {
    let gym = app
        .read(&caller, async |conn| Ok(store::find_gym(conn, caller.gym).await?))
        .await?;
    Ok(web::Json(gym))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GymPatch {
    name: Option<String>,
    /// IANA time zone, such as `Europe/Madrid`.
    time_zone: Option<String>,
    locale: Option<Lang>,
    /// Minutes after midnight at which a day begins, 0 to 720.
    day_start: Option<i32>,
}

impl GymPatch {
    fn check(self) -> Result<GymChange> {
        self.name
            .as_deref()
            .map_or(Ok(()), |name| rules::check_name("name", name))?;
        self.time_zone.as_deref().map_or(Ok(()), rules::check_time_zone)?;
        self.day_start.map_or(Ok(()), rules::check_day_start)?;
        Ok(GymChange {
            name: self.name.map(|name| name.trim().to_owned()),
            time_zone: self.time_zone,
            locale: self.locale.map(Lang::tag),
            day_start: self.day_start,
        })
    }
}

/// Change the gym's name, time zone, language or start of the day. For owners and managers.
#[utoipa::path(
    tag = "gym",
    request_body = GymPatch,
    responses(
        (status = 200, body = Gym),
        (status = 401, description = "not signed in"),
        (status = 403, description = "not an owner or manager"),
        (status = 422, description = "a field is invalid"),
    ),
    security(("bearer" = []))
)]
#[patch("/gym")]
async fn update_gym(app: web::Data<App>, caller: Caller, body: Body<GymPatch>) -> Result<web::Json<Gym>> {
    caller.require(&[Role::Owner, Role::Manager])?;
    let change = body.0.check()?;
    let gym = app
        .change(&caller, async move |tx| {
            let gym = tx.gym;
            store::update_gym(tx, gym, &change).await?;
            Ok(store::find_gym(tx, gym).await?)
        })
        .await?;
    Ok(web::Json(gym))
}
