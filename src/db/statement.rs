//! Hand-written SQL that is prepared once per connection. Diesel prepares `sql_query` on every call, which costs a
//! round trip and planning; the statements that every change runs are kept in the statement cache instead.

use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Untyped};
use diesel::{QueryResult, RunQueryDsl};

/// A statement without bound values.
#[derive(Clone, Copy, Debug)]
pub struct Statement(&'static str);

/// A statement with one more bound value.
#[derive(Clone, Copy, Debug)]
pub struct Bound<Q, ST, V> {
    query: Q,
    value: V,
    sql_type: PhantomData<ST>,
}

/// A statement in which each `$` stands for the next value to bind. To use a value twice, name it in a common table
/// expression.
#[must_use]
pub const fn statement(sql: &'static str) -> Statement {
    Statement(sql)
}

/// A statement that can bind another value.
pub trait Bind: Written + Sized {
    /// Binds the next value.
    fn bind<ST, V>(self, value: V) -> Bound<Self, ST, V> {
        Bound {
            query: self,
            value,
            sql_type: PhantomData,
        }
    }
}

impl<Q: Written> Bind for Q {}

/// The text of a statement, and the number of its bound values.
pub trait Written {
    /// Number of values bound so far.
    const VALUES: usize;
    /// The whole text, with a `$` for each value.
    fn sql(&self) -> &'static str;

    /// The text between the last bound value and the next one.
    fn piece(&self) -> &'static str {
        self.sql().split('$').nth(Self::VALUES).unwrap_or_default()
    }
}

impl Written for Statement {
    const VALUES: usize = 0;
    fn sql(&self) -> &'static str {
        self.0
    }
}

impl<Q: Written, ST, V> Written for Bound<Q, ST, V> {
    const VALUES: usize = Q::VALUES + 1;
    fn sql(&self) -> &'static str {
        self.query.sql()
    }
}

impl QueryFragment<Pg> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.piece());
        Ok(())
    }
}

impl<Q, ST, V> QueryFragment<Pg> for Bound<Q, ST, V>
where
    Q: QueryFragment<Pg> + Written,
    V: ToSql<ST, Pg>,
    Pg: HasSqlType<ST>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.query.walk_ast(out.reborrow())?;
        out.push_bind_param::<ST, V>(&self.value)?;
        out.push_sql(self.piece());
        Ok(())
    }
}

// The cache must key on the text, since the type does not contain it.
impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q, ST, V> QueryId for Bound<Q, ST, V> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}

impl<Q, ST, V> Query for Bound<Q, ST, V> {
    type SqlType = Untyped;
}

impl<Conn> RunQueryDsl<Conn> for Statement {}
impl<Q, ST, V, Conn> RunQueryDsl<Conn> for Bound<Q, ST, V> {}

#[cfg(test)]
mod tests {
    use diesel::debug_query;
    use diesel::sql_types::{BigInt, Text};

    use super::*;

    #[test]
    fn values_are_numbered_in_order_and_the_statement_is_cacheable() {
        let query = statement("SELECT $::int8 + 1 WHERE 'a' = $")
            .bind::<BigInt, _>(7_i64)
            .bind::<Text, _>("b");
        let shown = debug_query::<Pg, _>(&query).to_string();
        assert_eq!(shown, "SELECT $1::int8 + 1 WHERE 'a' = $2 -- binds: [7, \"b\"]");
        assert!(query.is_safe_to_cache_prepared(&Pg).expect("known"));
    }
}
