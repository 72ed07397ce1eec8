//! SQL of our own that is prepared once on each connection. Diesel prepares `sql_query` anew each time, which costs a round
//! trip and a plan; what every change runs is worth a place in the statement cache.

use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Untyped};
use diesel::{QueryResult, RunQueryDsl};

/// A statement without its values.
#[derive(Clone, Copy, Debug)]
pub struct Statement(&'static str);

/// A statement with one more value.
#[derive(Clone, Copy, Debug)]
pub struct Bound<Q, ST, V> {
    query: Q,
    value: V,
    sql_type: PhantomData<ST>,
}

/// A statement in which each `$` stands for the next value to be bound. A value that is needed twice is named in a
/// common table expression.
#[must_use]
pub const fn statement(sql: &'static str) -> Statement {
    Statement(sql)
}

/// A statement that takes another value.
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

/// Text and number of values of a statement.
pub trait Written {
    /// Values that have been bound.
    const VALUES: usize;
    /// The whole text.
    fn sql(&self) -> &'static str;

    /// The text between the last value that was bound and the next.
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

// The cache's key is the text: the types say nothing of it.
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
    fn values_take_their_places_in_order_and_the_text_may_be_cached() {
        let query = statement("SELECT $::int8 + 1 WHERE 'a' = $")
            .bind::<BigInt, _>(7_i64)
            .bind::<Text, _>("b");
        let shown = debug_query::<Pg, _>(&query).to_string();
        assert_eq!(shown, "SELECT $1::int8 + 1 WHERE 'a' = $2 -- binds: [7, \"b\"]");
        assert!(query.is_safe_to_cache_prepared(&Pg).expect("known"));
    }
}
