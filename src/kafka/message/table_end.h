/* Takes back the words of table.h. */
#undef LAST
#undef NEVER
#undef MESSAGE
#undef STRUCT
#undef FIELD
#undef ARRAY
#undef NESTED
#undef OPTIONAL
#undef END
#undef ENTRY
#undef NULLABLE
#undef DEFAULT
#undef NULL_IF_ABSENT
#undef TAG
