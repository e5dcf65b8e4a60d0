"""Who has to be looked at again although the event log says nothing: noted by triggers of the database.

An attribute that changed, a new customer, an identifier, a statement of consent, a place on a list and a
decision by hand count for segments, whoever wrote them: a verb, an import with COPY, a hand with psql. Each
statement notes its people once; `segments.follower` takes the notes away. Orders and everything people do
come with an event, so they need no note.
"""

# What a rule may ask about a customer. When somebody was last seen moves with an event.
_ATTRIBUTES = (
    "status",
    "first_name",
    "last_name",
    "language",
    "birth_date",
    "city",
    "country",
    "timezone",
    "home_store_id",
    "traits",
    "created_at",
)
_ADDED, _REMOVED = "SELECT customer_id FROM added", "SELECT customer_id FROM removed"
_NEW, _OLD = (", ".join(f"{row}.{name}" for name in _ATTRIBUTES) for row in ("added", "removed"))
_JOINED = "added JOIN removed USING (id)"
_CHANGED = f"SELECT id FROM {_JOINED} WHERE ({_NEW}) IS DISTINCT FROM ({_OLD})"  # noqa: S608 - ours alone

# Table, what is done to it, whom that concerns.
_RULES = (
    ("customers_customer", "INSERT", "SELECT id FROM added"),
    ("customers_customer", "UPDATE", _CHANGED),
    *(
        (table, deed, people)
        for table in ("customers_identifier", "segments_listmember", "segments_override")
        for deed, people in (
            ("INSERT", _ADDED),
            ("UPDATE", f"{_ADDED} UNION {_REMOVED}"),
            ("DELETE", _REMOVED),
        )
    ),
    ("customers_consentevent", "INSERT", _ADDED),
)
_TRANSITIONS = {
    "INSERT": "NEW TABLE AS added",
    "UPDATE": "NEW TABLE AS added OLD TABLE AS removed",
    "DELETE": "OLD TABLE AS removed",
}
_TRIGGER = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO segments_touch (customer_id) SELECT DISTINCT * FROM ({people}) AS people;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER {name} AFTER {deed} ON {table} REFERENCING {transitions}
FOR EACH STATEMENT EXECUTE FUNCTION {name}();
"""


def _name(table: str, deed: str) -> str:
    return f"segments_touch_{table.partition('_')[2]}_{deed.lower()}"


def install_sql() -> str:
    """Creates the triggers; run again, it replaces them."""
    return "".join(
        _TRIGGER.format(
            name=_name(table, deed),
            table=table,
            deed=deed,
            people=people,
            transitions=_TRANSITIONS[deed],
        )
        for table, deed, people in _RULES
    )


def uninstall_sql() -> str:
    """Drops the functions and, with them, the triggers."""
    return "".join(f"DROP FUNCTION {_name(table, deed)}() CASCADE;" for table, deed, _people in _RULES)
