//! Who a caller is and what it may do: grants, the decision and its explanation. Does not know how bytes travel.
