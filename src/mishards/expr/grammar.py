"""The grammar of filters, for lark's LALR parser with its contextual lexer.

The language is the one of Milvus (`Plan.g4`, https://milvus.io/docs/boolean.md), but for `not`,
which binds looser than comparisons, as Milvus's documentation uses it.

Invariants: keywords are all lower or all upper case, as in Milvus; rules are left-recursive, so
parsing needs no call stack that grows with the text; `LIST` takes a whole list of plain literals
as one token, because lists of keys run to thousands of elements.
"""

GRAMMAR = r"""
start: any_of?

?any_of: all_of
       | all_of (_OR all_of)+                      -> disjunction
?all_of: inverse
       | inverse (_AND inverse)+                   -> conjunction
?inverse: predicate
        | NOT inverse                              -> negation

?predicate: sum
          | sum (COMPARE sum)+                     -> comparison
          | sum IN sum                             -> member
          | sum NOT IN sum                         -> no_member
          | sum LIKE sum                           -> likeness
          | sum IS_NULL                            -> is_null
          | sum IS_NOT_NULL                        -> is_not_null
          | EXISTS atom                            -> existence

?sum: product
    | sum SIGN product                             -> binary
?product: unary
        | product FACTOR unary                     -> binary
?unary: power
      | SIGN unary                                 -> sign
?power: atom
      | power POWER exponent                       -> binary
?exponent: atom
         | SIGN exponent                           -> sign

?atom: NAME                                        -> name
     | NAME step+                                  -> name
     | NAME "(" [any_of ("," any_of)* [","]] ")"   -> call
     | TRUE                                        -> true
     | FALSE                                       -> false
     | INTEGER                                     -> integer
     | FLOAT                                       -> floating
     | STRING                                      -> string
     | LIST                                        -> plain_list
     | LSQUARE [any_of ("," any_of)* [","]] "]"    -> items
     | LBRACE NAME "}"                             -> template
     | "(" any_of ")"

?step: LSQUARE STRING "]"                          -> key_step
     | LSQUARE INTEGER "]"                         -> index_step

_OR.3: /\|\||(?:or|OR)\b/
_AND.3: /&&|(?:and|AND)\b/
NOT.3: /!(?!=)|(?:not|NOT)\b/
IN.3: /(?:in|IN)\b/
LIKE.3: /(?:like|LIKE)\b/
IS_NULL.3: /(?:is\s+null|IS\s+NULL)\b/
IS_NOT_NULL.3: /(?:is\s+not\s+null|IS\s+NOT\s+NULL)\b/
EXISTS.3: /(?:exists|EXISTS)\b/
TRUE.3: /(?:true|True|TRUE)\b/
FALSE.3: /(?:false|False|FALSE)\b/
COMPARE: /[=!<>]=|[<>]/
POWER.2: "**"
SIGN: /[+-]/
FACTOR: /[*\/%]/
LSQUARE: "["
LBRACE: "{"
NAME: /(?!(?:RESERVED)\b)[^\W\d]\w*|\$meta\b/
LIST.4: /\[\s*(?:(?:ITEM)\s*,\s*)*+(?:ITEM)\s*(?:,\s*)?\]/
FLOAT.2: /FLOATING/
INTEGER: /WHOLE/
STRING: /"(?:[^"\\]|\\[\s\S])*+"|'(?:[^'\\]|\\[\s\S])*+'/

%ignore /\s+/
"""

RESERVED = "and|AND|or|OR|not|NOT|in|IN|like|LIKE|exists|EXISTS|true|True|TRUE|false|False|FALSE"
FLOATING = (
    r"0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?\d+"
    r"|(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+"
)
WHOLE = r"0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9]\d*"
ITEM = (
    rf"[+-]?(?:{FLOATING}|{WHOLE})|\"[^\"\\]*+\"|'[^'\\]*+'"
    r"|true|True|TRUE|false|False|FALSE"
)


def grammar() -> str:
    """The grammar with the patterns of literals in place."""
    text = GRAMMAR.replace("RESERVED", RESERVED).replace("ITEM", ITEM.replace("/", r"\/"))
    return text.replace("FLOATING", FLOATING).replace("WHOLE", WHOLE)
