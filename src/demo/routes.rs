//! The route that lists accounts of the demo gym for one-click sign-in. It answers 404 unless the server runs in demo
//! mode.

use actix_web::{get, web};
use diesel::{ExpressionMethods as _, QueryDsl as _, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{Role, Roles, Status};
use crate::db::schema::{accounts, gyms, memberships};
use crate::error::{Error, Result};

/// Accounts offered for each role.
const PER_ROLE: usize = 2;

/// Mounts the routes.
pub fn routes(config: &mut ServiceConfig) {
    config.service(find_demo);
}

#[derive(Serialize, ToSchema)]
struct Demo {
    accounts: Vec<DemoAccount>,
    password: &'static str,
}

#[derive(Clone, Serialize, ToSchema)]
struct DemoAccount {
    email: String,
    name: String,
    roles: Roles,
}

/// List accounts to try the product with, and their password.
#[utoipa::path(
    tag = "auth",
    responses((status = 200, body = Demo), (status = 404, description = "the server does not run in demo mode"))
)]
#[get("/demo")]
async fn find_demo(app: web::Data<App>) -> Result<web::Json<Demo>> {
    if !app.config.demo {
        return Err(Error::not_found("page"));
    }
    let people = app.system(async |conn| Ok(people(conn).await?)).await?;
    Ok(web::Json(Demo {
        accounts: offer(&people),
        password: super::PASSWORD,
    }))
}

/// Lists the active people of the demo gym in the order of creation.
async fn people(conn: &mut AsyncPgConnection) -> QueryResult<Vec<DemoAccount>> {
    let rows: Vec<(String, String, Vec<Option<String>>)> = memberships::table
        .inner_join(accounts::table)
        .inner_join(gyms::table)
        .filter(gyms::slug.eq(super::SLUG))
        .filter(memberships::status.eq(Status::Active.name()))
        .order((memberships::created_at, memberships::account_id))
        .select((accounts::email, accounts::name, memberships::roles))
        .load(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(email, name, roles)| DemoAccount {
            email,
            name,
            roles: roles.into(),
        })
        .collect())
}

/// Picks the first few people of each role, each person once.
fn offer(people: &[DemoAccount]) -> Vec<DemoAccount> {
    let mut offered: Vec<DemoAccount> = Vec::new();
    for role in Role::ALL {
        let of_role = people.iter().filter(|p| p.roles.has(role)).take(PER_ROLE);
        for person in of_role {
            if offered.iter().all(|o| o.email != person.email) {
                offered.push(person.clone());
            }
        }
    }
    offered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_offers_a_few_of_each_role_and_each_person_once() {
        let person = |email: &str, roles: &[Role]| DemoAccount {
            email: email.into(),
            name: email.into(),
            roles: roles.iter().copied().collect(),
        };
        let people = [
            person("a", &[Role::Owner, Role::Trainer]),
            person("b", &[Role::Member]),
            person("c", &[Role::Member]),
            person("d", &[Role::Member]),
            person("e", &[Role::Trainer]),
        ];
        let emails: Vec<String> = offer(&people).into_iter().map(|p| p.email).collect();
        assert_eq!(emails, ["a", "e", "b", "c"]);
    }
}
