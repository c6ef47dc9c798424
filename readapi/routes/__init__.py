"""The endpoints: what may be asked, and which question of the store answers it. One module a subject."""

from fastapi import APIRouter

from readapi.routes import accounts, balances, changes, position, reports, summary, sync, transactions

router = APIRouter()
for subject in (accounts, transactions, summary, balances, position, changes, reports, sync):
    router.include_router(subject.router)
